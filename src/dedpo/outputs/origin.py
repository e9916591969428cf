"""Where an output's inputs come from: their places, the revision of the data, models of the hub, and the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

import dedpo
from dedpo import disk
from dedpo.contract import model_names
from dedpo.outputs.hashes import MANIFEST, RUN, digest, sha256

# What `dedpo data pull` leaves in a folder that it has fetched.
PULLED: Final = ".pulled.json"
# A folder inside a fetched or finished one (data/pairs, targets/0/dedpo) lies at most this deep.
_DEPTH: Final = 4

Json = dict[str, Any]


def place(path: Path, out: Path) -> str:
    """`path` as seen from the folder that `out` lies in, so that a tree that is moved as a whole still fits together.

    Absolute if the two have nothing in common but the root of the file system.
    """
    here, there = absolute(out.parent), absolute(path)
    if here.anchor != there.anchor or os.path.commonpath([here, there]) == here.anchor:
        return there.as_posix()
    return PurePosixPath(Path(os.path.relpath(there, here))).as_posix()


def absolute(path: Path) -> Path:
    """`path` from the root, without '..'; unlike with `resolve`, a link stays the place that was named."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def revisions(inputs: Mapping[str, Path]) -> dict[str, Json]:
    """Input → the revision that it, or what it was made from, was fetched at; inputs without one are left out."""
    return {name: found for name, path in inputs.items() if (found := _revision(path))}


def main_revision(found: Mapping[str, Json]) -> Json | None:
    """The one of `revisions` that an output is said to rest on: the data's, where several were fetched."""
    names = sorted(found, key=lambda name: (name not in ("data", "pairs", "source"), name))
    return found[names[0]] if names else None


def _revision(path: Path) -> Json | None:
    start = absolute(path if path.is_dir() else path.parent)
    for folder in (start, *start.parents)[:_DEPTH]:
        pulled = read_json(folder / PULLED)
        if "commit" in pulled:
            return pulled | ({} if _is_complete(folder, pulled) else {"changed": True})
        outputs = (manifest := read_json(folder / MANIFEST)).get("outputs")
        if isinstance(outputs, dict) and (folder == start or _holds(outputs, folder, start)):
            found = manifest.get("revision")
            return found if isinstance(found, dict) else None
    return None


def hand_on(output: Path, part: Path) -> None:
    """Leave what the finished `output` says of its data's revision in `part`, a folder that was moved out of it."""
    revision = read_json(output / MANIFEST).get("revision")
    if isinstance(revision, dict):
        note = {name: value for name, value in revision.items() if name not in ("md5", "files", "bytes")}
        disk.write_text(part / PULLED, json.dumps(note, indent=2, ensure_ascii=False) + "\n")


def _holds(outputs: Mapping[str, str], folder: Path, inner: Path) -> bool:
    prefix = f"{inner.relative_to(folder).as_posix()}/"
    return any(name.startswith(prefix) for name in outputs)


def _is_complete(folder: Path, pulled: Json) -> bool:
    """Whether a fetched folder still holds as many files and bytes: cheap, and enough to see what was added."""
    if "files" not in pulled:
        return True
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != PULLED]
    return pulled.get("files") == len(files) and pulled.get("bytes") == sum(path.stat().st_size for path in files)


def describe(revision: Mapping[str, Any]) -> str:
    """'team/data@v1:pairs, commit 1a2b3c4d' of a manifest's revision."""
    commit, asked = str(revision.get("commit") or "unknown"), revision.get("revision")
    name = f"{revision.get('repo', '?')}@{asked}" if asked and asked != commit else str(revision.get("repo", "?"))
    changed = "; files were added or changed there since" if revision.get("changed") else ""
    return f"{name}:{revision.get('path', '')}, commit {commit[:12]}{changed}"


def read_json(path: Path) -> Json:
    """An object from a file; empty if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def manifest_if_any(folder: Path) -> Json:
    """The manifest of an output with the record of its run, which a clone may lack; empty if there is none."""
    manifest = read_json(folder / MANIFEST)
    return read_json(folder / RUN) | manifest if manifest else {}


# models of the hub


def split_models(named: Mapping[str, str | None]) -> tuple[dict[str, Path], dict[str, str]]:
    """Models by the names that a manifest gives them: those on this disk, and ids on the hub."""
    given = {name: model for name, model in named.items() if model}
    here = {name: Path(model) for name, model in given.items() if Path(model).exists()}
    return here, {name: model for name, model in given.items() if name not in here}


def hub_commits(models: Mapping[str, str]) -> dict[str, Json]:
    """Name → {id, commit} of models of the hub; the commit is that of the copy on this disk, None if it does not say.

    The hub's client keeps the commit that a branch or tag stood on in refs/ beside its snapshots.
    """
    if not models:
        return {}
    return {name: {"id": model, "commit": _hub_commit(model)} for name, model in models.items()}


def _hub_commit(model: str) -> str | None:
    name, revision = model_names.model(model)
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    owner, _, rest = name.partition("/")
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    try:
        ref = cache / f"models--{owner}--{rest.split('/')[0]}" / "refs" / (revision or "main")
        return ref.read_text().strip() or None
    except OSError:
        return None


# the code


@cache
def code() -> Json:
    """What ran: dedpo's version, the hash of its own files, and the commit that it was installed from, if pip knows.

    The hash is the one thing that an installation from a wheel, one from a checkout and an image have in common.
    """
    root = Path(dedpo.__file__).parent
    files = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file() and p.suffix != ".pyc"}
    found: Json = {"sha256": digest({name: sha256(path) for name, path in files.items()})}
    try:
        installed = json.loads(metadata.distribution("dedpo").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        installed = {}
    if commit := installed.get("vcs_info", {}).get("commit_id"):
        found["installed_from"] = commit
    return found


def git_commit() -> str | None:
    """The commit that the working folder stands on, with '+changes' if files differ from it; None outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()
