"""Where an output came from: the chain of manifests down to raw files and raters, each link checked against the disk.

A manifest's word is not enough here: every file of the chain is hashed (`dedpo.outputs.hashes`, which notes what it
has read).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from dedpo.errors import UserError
from dedpo.lineage.facts import of_output, of_part
from dedpo.lineage.finished_outputs import OutputsByHash, owner, recorded_part
from dedpo.outputs import hashes, origin
from dedpo.outputs.hashes import MANIFEST

State = Literal["matches", "changed", "gone", "not here", "replaced"]
# A round of human labels is drawn once; the split and the labels that it was drawn from are made again after it.
OUTLIVING: Final = ("select",)
# Of the files that differ, this many are named.
NAMED: Final = 3
NOUNS: Final = {"train": "policy", "report": "report", "split": "split", "data": "import"}


@dataclass(frozen=True)
class Made:
    """A finished output, as its manifest describes it.

    Attributes:
        facts: what it was made with: arm, seed, annotator, template, counts.
        is_above: it was described before; facts and inputs are left out here.
    """

    path: str
    stage: str
    dedpo: str
    commit: str | None
    code: str | None
    seconds: float | None
    revision: str | None
    facts: dict[str, str] = field(default_factory=dict)
    inputs: list[Link] = field(default_factory=list)
    is_above: bool = False


@dataclass(frozen=True)
class Link:
    """One input of an output, or what was asked about.

    Attributes:
        name: of the input in the manifest of what was made from it.
        state: 'matches': its files are those it had then; 'changed': they are not; 'gone': nothing of that content is
            where it was, or below the work folder; 'not here': neither is the place, or anything else it lay with;
            'replaced': one of these, of an input that its output is meant to outlive.
        sha256: that was recorded; `now`: of what lies at `path`, None if nothing does.
        path: where it lies now, else where it lay.
        note: what differs, in words.
        facts: of this part of the output: rows, raters.
        made: the output that it is, or lies in; None for a raw file.
    """

    name: str
    state: State
    sha256: str
    now: str | None
    path: str
    note: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    made: Made | None = None


def trace(path: Path, work: Path) -> Link:
    """Follow `path`, a finished output or a part of one, to everything that it was made from.

    Inputs are looked for where the manifests say that they lay, then by their hash among the outputs below `work`.

    Raises:
        UserError: nothing is there, it is neither a finished output nor in one, or a file of the chain is unreadable.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; name a finished output, such as {work / 'policies/0/dedpo'}")
    path = path if owner(path) else origin.absolute(path)
    found = owner(path)
    if found is None:
        raise UserError(f"{path}: no {MANIFEST} of dedpo is in it or above it; name a finished output")
    return _Walk(work).root(path, *found)


def all_match(link: Link) -> bool:
    """Whether every link of the chain matches; what was replaced as intended counts as if it did."""
    inputs = link.made.inputs if link.made else []
    return link.state in ("matches", "replaced") and all(map(all_match, inputs))


class _Walk:
    """One trace: what was described, what was hashed, and the index of the work folder."""

    def __init__(self, work: Path) -> None:
        self._work, self._index = work, OutputsByHash(work)
        self._above: set[Path] = set()
        self._told: set[Path] = set()
        self._hashed: dict[Path, dict[str, str] | str] = {}

    def root(self, path: Path, folder: Path, manifest: Mapping[str, Any]) -> Link:
        recorded = recorded_part(manifest, folder, path)
        now = self._content(path)
        differing = _differences(recorded, now)
        state: State = "changed" if differing.removed or differing.changed else "matches"
        note = differing.words("what its manifest says") if state == "changed" else ""
        if state == "matches" and differing.added:
            note = f"beside what its manifest names: {_listed(differing.added)}"
        made = self._made(folder, manifest)
        return Link(path.name, state, _digest(recorded), _digest(now), str(path), note, of_part(path, manifest), made)

    def _made(self, folder: Path, manifest: Mapping[str, Any]) -> Made:
        is_above = folder.resolve() in self._above
        self._above.add(folder.resolve())
        revision = manifest.get("revision")
        code = manifest.get("code")
        return Made(
            path=str(folder),
            stage=str(manifest.get("stage", "unknown")),
            dedpo=str(manifest.get("dedpo", "unknown")),
            commit=_text(manifest.get("git_commit")),
            code=_text(code.get("sha256")) if isinstance(code, dict) else None,
            seconds=manifest["seconds"] if isinstance(manifest.get("seconds"), int | float) else None,
            revision=origin.describe(revision) if isinstance(revision, dict) else None,
            facts={} if is_above else of_output(manifest, folder),
            inputs=[] if is_above else self._inputs(folder, manifest),
            is_above=is_above,
        )

    def _inputs(self, folder: Path, manifest: Mapping[str, Any]) -> list[Link]:
        inputs, paths = manifest.get("inputs"), manifest.get("paths")
        places = paths if isinstance(paths, dict) else {}
        stage = str(manifest.get("stage", "output"))
        links = [
            self._link(str(name), str(sha), _place(folder, places.get(name)), stage)
            for name, sha in (inputs.items() if isinstance(inputs, dict) else ())
        ]
        if stage in OUTLIVING:
            return [replace(link, state="replaced") if link.state != "matches" else link for link in links]
        if len(links) > 1 and all(link.now is None for link in links):
            # An artefact that was carried away from all that it was made from: nothing is known of that.
            return [replace(link, state="not here") for link in links]
        return links

    def _link(self, name: str, sha: str, place: Path | None, stage: str) -> Link:
        here = place if place is not None and place.exists() else None
        # Where it lay first; only what has left its place is looked for.
        path = here if here and _digest(self._content(here)) == sha else self._index.find(sha) or here
        if path is None:
            return self._lost(name, sha, place)
        now = self._content(path)
        found = owner(path)
        recorded = recorded_part(found[1], found[0], path) if found else None
        if _digest(now) == sha:
            other = ", where something else lies now" if here else ""
            note = f"moved from {place}{other}" if place is not None and path != place else ""
            made = self._made(*found) if found else None
            facts = {} if made and made.is_above and str(path) == made.path else self._facts(path)
            return Link(name, "matches", sha, _digest(now), str(path), note, facts, made)
        what = NOUNS.get(stage, f"output of '{stage}'")
        note = f"now has {_digest(now)[:8]}, the {what} was made from {sha[:8]}"
        if recorded is not None and found and _digest(recorded) == sha:
            # Its manifest is still the one of then, so that the chain goes on.
            note += f"; {_differences(recorded, now).words('then')}"
            return Link(name, "changed", sha, _digest(now), str(path), note, {}, self._made(*found))
        return Link(name, "changed", sha, _digest(now), str(path), note)

    def _lost(self, name: str, sha: str, place: Path | None) -> Link:
        if place is None:
            note = f"the manifest does not say where it lay, and nothing below {self._work} has that hash"
            return Link(name, "not here", sha, None, "?", note)
        note = f"nothing of that content is there or below {self._work}"
        return Link(name, "gone" if place.parent.is_dir() else "not here", sha, None, str(place), note)

    def _facts(self, path: Path) -> dict[str, str]:
        """Told once, as outputs are."""
        if path in self._told:
            return {}
        self._told.add(path)
        found = owner(path)
        return of_part(path, found[1] if found else {})

    def _content(self, path: Path) -> dict[str, str] | str:
        """A file's hash, or a folder's {relative path: hash}."""
        key = path.absolute()
        if key not in self._hashed:
            try:
                self._hashed[key] = hashes.hashes([path])[path] if path.is_file() else hashes.content(path)
            except OSError as error:
                place = error.filename or path
                raise UserError(f"{place}: cannot be read ({error.strerror}); make it readable and run again") from None
        return self._hashed[key]


@dataclass(frozen=True)
class _Differences:
    changed: list[str]
    removed: list[str]
    added: list[str]

    def words(self, then: str) -> str:
        parts = (("changed", self.changed), ("missing", self.removed), ("new", self.added))
        listed = "; ".join(f"{word}: {_listed(names)}" for word, names in parts if names)
        return f"unlike {then}, {listed}"


def _differences(then: dict[str, str] | str, now: dict[str, str] | str) -> _Differences:
    if isinstance(then, str) or isinstance(now, str):
        return _Differences(["the file"] if then != now else [], [], [])
    both = then.keys() & now.keys()
    return _Differences(
        sorted(name for name in both if then[name] != now[name]),
        sorted(then.keys() - now.keys()),
        sorted(now.keys() - then.keys()),
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _digest(content: dict[str, str] | str) -> str:
    return content if isinstance(content, str) else hashes.digest(content)


def _place(folder: Path, recorded: object) -> Path | None:
    """Where an input lay; a manifest from elsewhere may not send the search through everything above its output."""
    if not isinstance(recorded, str):
        return None
    place = origin.absolute(folder.parent / recorded)
    if origin.absolute(folder).is_relative_to(place):
        return None
    here = Path.cwd()
    return place.relative_to(here) if place.is_relative_to(here) else place


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
