"""Outputs that are finished or absent: a stage writes into a partial folder that is renamed as its last act.

`<out>.partial` is where a stage works, alone, and `manifest.json`, written last, says what the folder was made from. A
stage that can resume finds its partial folder again if inputs and settings are still the same. All that the manifest
names is on the disk before it, and it before the rename. It holds nothing that differs when the same is done again:
when and how long that took, and on which commit, stands beside it in `manifest.run.json`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import dedpo
from dedpo import disk, redact
from dedpo.errors import UserError, of_system
from dedpo.outputs import hashes, locks, origin, ownership
from dedpo.outputs.ownership import REQUEST

MANIFEST: Final = hashes.MANIFEST
_TRACKED_VERSIONS: Final = (
    "numpy", "pyarrow", "torch", "diffusers", "transformers", "accelerate", "peft", "openai", "google-genai",
)  # fmt: skip


@contextmanager
def output_folder(
    out: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path],
    models: Mapping[str, str] | None = None,
    resumable: bool = False,
    changeable: Collection[str] = (),
    precious: str | None = None,
    shared: Collection[str] = (),
    lasting: Collection[str] = (),
) -> Iterator[Path]:
    """Yield a partial folder; on success write its manifest and rename it to `out`.

    On an exception the partial folder stays, and `resumable` hands it over to the next run if stage, settings, inputs'
    content and dedpo's version are the same; otherwise each run begins with an empty one. Files in it whose names begin
    with a dot are working files: removed after the rename, so that a kill at any moment loses none of them.

    An `out` that is not empty is replaced if this stage wrote it and nothing else lies in it, and refused otherwise.

    The manifest holds the inputs' hashes, and beside them, for `dedpo trace`: 'paths', where they lay, as seen from the
    folder that `out` lies in; 'revision', what `dedpo data pull` says of the data that an input is or was made from
    ('revisions', too, where inputs differ in that); 'hub', models with their commits.

    Args:
        models: name → id, of models that the hub has and this disk has not as a file or folder.
        changeable: settings that decide how the work is done and not what comes out (concurrency, timeouts): a resumed
            run may change them.
        precious: pattern of working files that cost too much to be thrown away for a run with another request.
        shared: names of all files that the stage writes, if others may lie in `out`, too: those stay.
        lasting: patterns of what says itself what it was made from: it stays for another request, and the stage sees to
            it that nothing is left that does not belong.

    Raises:
        UserError: an input is missing, `out` cannot be written or is not this stage's, another process works there, or
            precious files of another request are in the way.
    """
    begun = time.time()
    out = ownership.plain(out)
    try:
        ownership.check(out, stage, inputs, shared)
        partial = ownership.partial_of(out)
        made_from = fingerprints(inputs)
        request = {"stage": stage, "dedpo": dedpo.__version__, "config": redact.values(config), "inputs": made_from}
        origins = _origins(inputs, out)
        with locks.alone(out):
            ownership.check(out, stage, inputs, shared)
            ownership.recover(out, stage, shared)
            kept = {name: value for name, value in config.items() if name not in changeable}
            _open_partial(partial, request | {"config": redact.values(kept)}, resumable, precious, lasting)
            yield partial
            made = {"hub": origin.hub_commits(models or {}), "code": origin.code(), "versions": _versions()}
            run = {"git_commit": origin.git_commit(), "seconds": round(time.time() - begun, 2)}
            _finish(partial, request | origins | made, run)
            assert not shared or ownership.owned(partial, stage) <= {*shared, MANIFEST, hashes.RUN}
            (ownership.merge if shared else ownership.replace)(partial, out, stage)
    except Exception as error:
        if (found := of_system(error)) and (told := _told(found, out)):
            raise told from None
        raise


def _told(error: OSError, out: Path) -> UserError | None:
    """What a user can do about it; None: nothing."""
    partial = ownership.partial_of(out)
    if error.errno in _FULL:
        return UserError(f"{out}: {error.strerror}; make room and run again: what was done lies in {partial}")
    if not isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)) and error.errno not in _REFUSED:
        return None
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else out
    there, here = origin.absolute(place), origin.absolute(out)
    is_ours = there in here.parents or here in there.parents or origin.absolute(partial) in there.parents
    if is_ours or place.name.startswith((out.name, f".{out.name}.")):
        return UserError(f"{place}: cannot be written ({error.strerror}); choose another place")
    return UserError(f"{place}: cannot be read or written ({error.strerror}); give this user access to it")


def _origins(inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    found = origin.revisions(inputs)
    main = origin.main_revision(found)
    known: dict[str, Any] = {"paths": {name: origin.place(path, out) for name, path in inputs.items()}}
    known["revision"] = main
    if any(revision != main for revision in found.values()):
        known["revisions"] = found
    return known


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_REFUSED: Final = (errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG)


def note_run(partial: Path, facts: Mapping[str, Any]) -> None:
    """Put what differs when the same is done again, such as what it cost, into the record of the run in `partial`."""
    write_json(partial / hashes.RUN, dict(facts))


def _finish(partial: Path, manifest: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    outputs = hashes.content(partial, hashes.fresh)
    disk.sync_folder(partial, (partial / name for name in outputs))
    write_json(partial / hashes.RUN, origin.read_json(partial / hashes.RUN) | dict(run))
    write_json(partial / MANIFEST, {**manifest, "outputs": outputs})


def _open_partial(
    partial: Path, request: dict[str, Any], resumable: bool, precious: str | None, lasting: Collection[str]
) -> None:
    text = json.dumps(request, sort_keys=True)
    note = partial / REQUEST
    if resumable and note.is_file() and note.read_text() == text:
        return
    if precious and note.is_file() and any(partial.glob(precious)):
        raise UserError(
            f"{partial}: an unfinished run lies there, and this one differs from it: "
            f"{_difference(json.loads(note.read_text()), json.loads(text))}; finish that one with its own settings, or "
            "delete the folder to start again"
        )
    partial.mkdir(parents=True, exist_ok=True)
    # Killed while it is emptied, it is still this stage's, and nobody's to be resumed.
    disk.write_text(note, json.dumps({"stage": request["stage"], "config": {}, "inputs": {}, "dedpo": "none"}))
    stays = {note, *(path for pattern in lasting for path in partial.glob(pattern))}
    for path in partial.iterdir():
        if path not in stays:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    disk.write_text(note, text)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first thing in which two requests differ."""
    for name in sorted(old["config"].keys() | new["config"].keys()):
        before, now = old["config"].get(name), new["config"].get(name)
        if before != now:
            return f"{name} was {before}, now {now}"
    changed = [name for name, sha in new["inputs"].items() if old["inputs"].get(name) != sha]
    return f"input '{changed[0]}' has other content" if changed else f"it was made by dedpo {old['dedpo']}"


def input_hashes(partial: Path) -> dict[str, str]:
    """The `fingerprint` of each input of the output that is being made in `partial`, by name."""
    request = json.loads((partial / REQUEST).read_text())
    return dict(request["inputs"])


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON under a temporary name, then rename; keys and passwords in it are blotted out.

    Raises:
        ValueError: a number in it is not finite, for which JSON has no word.
    """
    text = json.dumps(
        redact.values(value),
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        default=lambda v: redact.text(str(v)),
    )
    disk.write_text(path, f"{text}\n")


def write_text(path: Path, text: str) -> None:
    """Write a page, a table or a card for people under a temporary name, then rename; secrets are blotted out."""
    disk.write_text(path, redact.text(text))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished output, with the record of its run where that is there, too.

    Raises:
        UserError: there is none, so the folder is missing or unfinished.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        state = "it was interrupted" if ownership.partial_of(folder).exists() else "it does not exist"
        raise UserError(f"{folder}: not a finished output ({state}); run the stage that makes it first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make the folder again") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: no manifest ({type(manifest).__name__}); make the folder again")
    return origin.read_json(folder / hashes.RUN) | manifest


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's {relative path: SHA-256} without its manifest.

    The manifest of a finished output holds those hashes, also for the folders in it (data/pairs), and is believed:
    re-hashing images each time costs minutes.

    Raises:
        UserError: nothing is there.
    """
    if path.is_file():
        return hashes.hashes([path])[path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; run the stage that makes it first")
    return hashes.digest(_known(path) or hashes.content(path))


def fingerprints(paths: Mapping[str, Path]) -> dict[str, str]:
    """The `fingerprint` of each, by name and in order of the names; single files are hashed together, which is faster.

    Raises:
        UserError: nothing is there.
    """
    files = hashes.hashes(path for path in paths.values() if path.is_file())
    return {name: files.get(path) or fingerprint(path) for name, path in sorted(paths.items())}


def file_hashes(files: Iterable[Path]) -> dict[Path, str]:
    """Each file's SHA-256; as in `fingerprint`, a manifest in its folder or the one above is believed."""
    files = list(files)
    known = {folder: _known(folder) for folder in {file.parent for file in files}}
    unknown = hashes.hashes(file for file in files if file.name not in known[file.parent])
    return {file: unknown.get(file) or known[file.parent][file.name] for file in files}


def _known(folder: Path) -> dict[str, str]:
    """The hashes of `folder`'s files as its manifest, or that of the output it lies in, recorded them."""
    return _recorded(folder, folder) or _recorded(folder.parent, folder)


def _recorded(output: Path, folder: Path) -> dict[str, str]:
    """The hashes of `folder`'s files in the manifest of `output`; none if it has no manifest, or a stranger's."""
    outputs = read_manifest(output).get("outputs") if (output / MANIFEST).is_file() else None
    if not isinstance(outputs, dict):
        return {}
    inside = "" if folder == output else f"{folder.name}/"
    return {name.removeprefix(inside): sha for name, sha in outputs.items() if name.startswith(inside)}


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _TRACKED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
