"""Whose a folder is: an output replaces what the same stage left there, and nothing else is ever touched.

The manifest says which stage made a finished folder and lists its files; an unfinished one says it in .request.json.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dedpo import disk
from dedpo.errors import UserError, excerpt
from dedpo.outputs.hashes import MANIFEST, RUN
from dedpo.outputs.origin import read_json
from dedpo.terminal import note

REQUEST: Final = ".request.json"
# What file managers and network file systems leave in any folder.
_LITTER: Final = {".DS_Store", ".directory", "Icon\r", "Thumbs.db", "desktop.ini", "ehthumbs.db"}
_LITTER_BEGINS: Final = ("._", ".nfs", ".fuse_hidden")
_NAMED: Final = 3


def partial_of(out: Path) -> Path:
    """Where `out` is made."""
    return out.with_name(f"{out.name}.partial")


def plain(out: Path) -> Path:
    """`out` by a name that holds while it is replaced, which results/../results does not."""
    return out if Path(os.path.normpath(out)) == out or out.name in ("", "..") else out.parent.resolve() / out.name


def former_of(out: Path) -> Path:
    """Where the former `out` lies between the two renames that put the new one in its place: no name of a user's."""
    return out.with_name(f".{out.name}.dedpo.old")


def last_of(out: Path) -> Path:
    """Where a finished training's last checkpoint lies, for a longer one to go on from."""
    return out.with_name(f".{out.name}.dedpo.last")


def remove(folder: Path, out: Path) -> None:
    """Remove what was found to be ours; killed in the middle it leaves no half folder that looks like a stranger's."""
    gone = _gone_of(out)
    if gone.exists():
        shutil.rmtree(gone)
    shutil.rmtree(folder.rename(gone))


def _gone_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.dedpo.removed")


def check(out: Path, stage: str, inputs: Mapping[str, Path], files: Collection[str] = ()) -> None:
    """Refuse to write `out` where anything would be lost that this stage has not made.

    Args:
        inputs: what is read; `out` may neither hold nor be in any of it.
        files: all that the stage writes, if the folder is shared: whatever else lies there stays.

    Raises:
        UserError: it would; nothing was touched.
    """
    check_place(out)
    for name, path in inputs.items():
        _check_input(out, name, path)
    if files:
        _check_shared(out, stage, files)
    else:
        _check_not_in(out)
        _check_former(out, stage)
    _check_former(former_of(out), stage)
    check_partial(partial_of(out), stage)


def check_place(out: Path) -> None:
    """Refuse a place that no folder of ours can be put in: '.', a mount, a link, a file.

    Raises:
        UserError: it is one.
    """
    check_name(out)
    if out.name in ("", "..") or os.path.ismount(out):
        raise UserError(f"{out}: it cannot be replaced as a whole; name a folder in it, such as {out / 'out'}")
    for path in (out, partial_of(out), former_of(out), _gone_of(out)):
        if path.is_symlink():
            raise UserError(f"{path}: a link (to {path.readlink()}) lies there; name the folder itself, or move it")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: a file lies there; choose another place, or move it")


def check_name(path: Path) -> None:
    """Refuse a name that is no text, which no table can hold and pyarrow can write no file to.

    Raises:
        UserError: it is none.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: this name is no UTF-8; rename it, or choose another place") from None


def _check_not_in(out: Path) -> None:
    if Path.cwd().is_relative_to(out.resolve()):
        raise UserError(f"{out}: it would be replaced under your feet; leave that folder, and run again")


def _check_input(out: Path, name: str, path: Path) -> None:
    here, there = out.resolve(), path.resolve()
    if there.is_relative_to(here):
        raise UserError(f"{out}: what is read lies there ('{name}': {path}); choose another place to write")
    if here.is_relative_to(there):
        raise UserError(f"{out}: it lies in what is read ('{name}': {path}); choose another place to write")


def _check_former(out: Path, stage: str) -> None:
    if not (found := _files(out, stage)):
        return
    made_by = _stage(read_json(out / MANIFEST))
    if made_by is None:
        raise UserError(
            f"{out}: files lie there that no run of dedpo made ({_listed(found)}); choose another place, or move them"
        )
    if made_by != stage:
        raise UserError(f"{out}: the output of '{excerpt(made_by)}' lies there; choose another place for '{stage}'")
    raise UserError(
        f"{out}: beside what '{stage}' wrote lies what would be lost with it ({_listed(found)}); move it away and run "
        "again"
    )


def _check_shared(out: Path, stage: str, files: Collection[str]) -> None:
    known = owned(out, stage) | owned(partial_of(out), stage)
    there = [name for name in (*files, MANIFEST) if os.path.lexists(out / name)]
    strange = [name for name in there if name not in known or (out / name).is_dir()]
    if strange:
        raise UserError(
            f"{out}: {_listed(strange)} would be written over, and no earlier '{stage}' made it; choose another place, "
            "or move it"
        )


def check_partial(partial: Path, stage: str) -> None:
    """Refuse a partial folder that no unfinished run of this stage left.

    Raises:
        UserError: it is one.
    """
    if not partial.exists():
        return
    request = read_json(partial / REQUEST)
    if not isinstance(request.get("stage"), str):
        if found := [path.name for path in _entries(partial) if path.name != f".{REQUEST}.tmp"]:
            raise UserError(
                f"{partial}: files lie there that no run of dedpo left ({_listed(sorted(found))}); choose another "
                "place, or move them"
            )
    elif request["stage"] != stage:
        raise UserError(
            f"{partial}: an unfinished run of '{excerpt(request['stage'])}' lies there; finish it, choose "
            "another place, or delete the folder"
        )


def owned(folder: Path, stage: str) -> set[str]:
    """The files of a finished output of this stage, by their relative paths; none of a stranger's."""
    manifest = read_json(folder / MANIFEST)
    if _stage(manifest) != stage:
        return set()
    # A manifest that came with the folder from elsewhere speaks of nothing outside it.
    return {MANIFEST, RUN} | {name for name in manifest["outputs"] if ".." not in Path(name).parts and name[:1] != "/"}


def _stage(manifest: Mapping[str, Any]) -> str | None:
    """Which stage of dedpo wrote it; None: it is a stranger's, such as a web page's or a browser extension's."""
    is_ours = isinstance(manifest.get("outputs"), dict) and {"dedpo", "config", "inputs"} <= manifest.keys()
    return str(manifest.get("stage")) if is_ours else None


def _files(folder: Path, stage: str) -> list[str]:
    """What lies in a folder and is not of the finished output of this stage, in order."""
    if not folder.is_dir():
        return []
    known = owned(folder, stage)
    if not known:
        return sorted(path.name for path in _entries(folder))
    # Between the last rename and the end its working files are still there.
    is_swept = not (folder / REQUEST).is_file()
    found = {path.relative_to(folder).as_posix() for path in _all_files(folder)} - known
    return sorted(name for name in found if is_swept or "/" in name or not name.startswith("."))


def _entries(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not is_litter(path))


def _all_files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if (p.is_symlink() or not p.is_dir()) and not is_litter(p))


def is_litter(path: Path) -> bool:
    """Whether it is a file that a file manager or a network file system has left."""
    return (path.name in _LITTER or path.name.startswith(_LITTER_BEGINS)) and not path.is_dir()


def _listed(names: list[str]) -> str:
    shown = ", ".join(excerpt(name, 80) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def recover(out: Path, stage: str, files: Collection[str] = ()) -> None:
    """Finish what a run that was killed in its last moment has left: call it after `check`, alone."""
    former, partial = former_of(out), partial_of(out)
    if _gone_of(out).exists():
        shutil.rmtree(_gone_of(out))
    if former.exists() and out.exists():
        discard(former, out, stage)
    elif former.exists():
        former.replace(out)
    if files and (partial / MANIFEST).is_file():
        merge(partial, out, stage)


def replace(partial: Path, out: Path, stage: str) -> None:
    """Put the finished `partial` in the place of `out`.

    A folder cannot replace another in one step; the old one is moved away first, so that no mixture is ever seen.
    """
    former = former_of(out)
    if out.exists():
        out.replace(former)
    os.replace(partial, out)  # noqa: PTH105 (tests record the order of these calls)
    disk.sync(out.parent)
    if former.exists():
        discard(former, out, stage)
    for working in sorted(out.glob(".*"), key=lambda path: path.name == REQUEST):
        if working.is_file() and not is_litter(working):
            working.unlink()


def merge(partial: Path, out: Path, stage: str) -> None:
    """Move the files of the finished `partial` into the shared folder `out`; without its manifest it is unfinished."""
    out.mkdir(parents=True, exist_ok=True)
    new = owned(partial, stage)
    gone = owned(out, stage) - new
    (out / MANIFEST).unlink(missing_ok=True)
    for name in sorted(gone):
        (out / name).unlink(missing_ok=True)
    for name in sorted(new, key=lambda name: (name == MANIFEST, name)):
        if (partial / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial / name, out / name)  # noqa: PTH105
    disk.sync_folder(out, ())
    remove(partial, out)


def discard(folder: Path, out: Path, stage: str) -> None:
    """Remove a finished output of this stage, `out` or its former one; with anything else in it, it stays."""
    if found := _files(folder, stage):
        note(f"warning: {folder}: kept, for it holds {_listed(found)}")
    else:
        remove(folder, out)
