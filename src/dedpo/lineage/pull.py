"""Bring one version of some data here: REPO@REVISION:PATH into a folder, every file with the hash it should have."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dedpo import disk, redact
from dedpo.errors import UserError
from dedpo.lineage import references
from dedpo.outputs import locks, ownership
from dedpo.outputs.manifest import write_json
from dedpo.outputs.ownership import REQUEST
from dedpo.terminal import progress

if TYPE_CHECKING:
    from dedpo.lineage.versions import DataVersion, VersionedFile

NOTE: Final = ".pulled.json"
FETCHERS: Final = 8
STAGE: Final = "data pull"
_TEMPORARY: Final = ".fetching"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def pull(reference: str, out: Path) -> dict[str, Any]:
    """Fetch a file or folder at a revision into the folder `out`, with a note of where it came from in .pulled.json.

    Every file is hashed after it was fetched and compared with what DVC recorded. Interrupted or killed and started
    again, it fetches only what is not there with the right hash; `out` appears when all is. An `out` of an earlier pull
    is replaced if nothing in it was changed, and kept if it is this version already.

    Args:
        reference: REPO@REVISION:PATH, see `references.parse`.

    Returns:
        the note: repo (without credentials), revision as asked, commit, path, md5 (as DVC computes it for a file or a
        folder), files, bytes.

    Raises:
        UserError: the reference names nothing, data was not pushed, the remote is unreachable or refuses, a hash
            differs, the disk is full, `out` is in the way, or another process pulls there.
    """
    from dedpo.lineage import versions

    wanted = references.parse(reference)
    out = ownership.plain(out)
    ownership.check_place(out)
    with versions.opened(wanted) as (source, commit):
        origin = {
            "repo": redact.without_userinfo(wanted.repo),
            "revision": wanted.revision,
            "commit": commit,
            "path": wanted.path,
        }
        if note := _already(out, origin):
            return note
        files = [v for v in source.files() if v.name not in (NOTE, REQUEST)]
        partial = ownership.partial_of(out)
        try:
            with locks.alone(out):
                _recover(out, origin)
                ownership.check_partial(partial, STAGE)
                partial.mkdir(parents=True, exist_ok=True)
                write_json(partial / REQUEST, {"stage": STAGE})
                _remove_strays(partial, files)
                _fetch_all(source, files, partial, str(wanted))
                known = {v.name: v.md5 for v in files if v.md5 and v.kind == "md5"}
                single = source.is_single
                note = origin | _summary(partial, single, known)
                write_json(partial / NOTE, note)
                (partial / REQUEST).unlink()
                _replace(partial, out)
        except OSError as error:
            if error.errno in _FULL:
                raise UserError(
                    f"{out}: {error.strerror}; make room and run again: what came lies in {partial}"
                ) from None
            if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)) or error.errno == errno.EROFS:
                raise UserError(
                    f"{error.filename or out}: cannot be written ({error.strerror}); choose another --out"
                ) from None
            raise
    return note


def uncommitted(reference: str) -> str | None:
    """A warning if `reference` names the commit that a folder stands on while its files differ from it."""
    wanted = references.parse(reference)
    is_bare = "rev-parse", "--is-bare-repository"
    if not references.is_local(wanted.repo) or references.git(wanted.repo, *is_bare, check=False) == "true":
        return None
    head, asked = (references.commit_of(wanted.repo, revision) for revision in (references.HEAD, wanted.revision))
    changes = references.git(wanted.repo, "status", "--porcelain", "--untracked-files=no")
    if head != asked or not changes:
        return None
    first = changes.splitlines()[0].split(maxsplit=1)[-1]
    return (
        f"{wanted.repo}: uncommitted changes ({len(changes.splitlines())} files, such as {first}) are not part of "
        f"{wanted.revision}: what comes is the commit's"
    )


def _summary(folder: Path, single: bool, known: Mapping[str, str], *, with_litter: bool = True) -> dict[str, Any]:
    """md5 of a pulled folder (or of the one file in it) as DVC computes it, files, bytes; our own notes do not count.

    `known` holds hashes that need not be computed again.
    DVC's hash of a folder is the MD5 of the JSON list of its files' names and MD5s, plus '.dir'
    (https://dvc.org/doc/user-guide/project-structure/internal-files).
    """
    paths = {
        name: path
        for name, path in _walk(folder)
        if name not in (NOTE, REQUEST) and (with_litter or not ownership.is_litter(path))
    }
    hashes = [{"md5": known.get(name) or md5_of(path), "relpath": name} for name, path in sorted(paths.items())]
    text = json.dumps(hashes, sort_keys=True)
    whole = hashes[0]["md5"] if single else f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"
    return {"md5": whole, "files": len(paths), "bytes": sum(p.stat().st_size for p in paths.values())}


def md5_of(path: Path, kind: str = "md5") -> str:
    """A file's MD5 as DVC records it; 'md5-dos2unix' is that of DVC 2, which reads CR LF in text as LF."""
    if kind == "md5":
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    from dvc_data.hashfile.hash import file_md5

    return str(file_md5(str(path), name=kind))


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix(), path


def _already(out: Path, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The note of `out` if this version lies there whole.

    Raises:
        UserError: something else lies there that is not an earlier pull, or was changed since.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        note = json.loads((out / NOTE).read_text(encoding="utf-8"))
        single = not str(note["md5"]).endswith(".dir")
        noted = {name: note[name] for name in ("md5", "files", "bytes")}
        # What a file manager has left is no change, and may be a part of what was pulled.
        whole = any(_summary(out, single, {}, with_litter=with_) == noted for with_ in (True, False))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{out}: something lies there that was not pulled; choose another --out, or move it") from None
    if not whole:
        raise UserError(f"{out}: it was changed since it was pulled; choose another --out, or move it away")
    same = all(note.get(name) == origin[name] for name in ("repo", "commit", "path"))
    return note | {"revision": origin["revision"]} if same else None


def _remove_strays(partial: Path, files: list[VersionedFile]) -> None:
    """What an interrupted pull of something else left, and torn temporary files."""
    wanted = {v.name for v in files} | {REQUEST}
    for name, path in list(_walk(partial)):
        if name not in wanted or path.is_symlink():
            path.unlink()
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _fetch_all(source: DataVersion, files: list[VersionedFile], partial: Path, what: str) -> None:
    with ThreadPoolExecutor(FETCHERS) as pool:
        is_here = list(pool.map(lambda v: _is_right(partial / v.name, v), files))
        missing = [v for v, is_right in zip(files, is_here, strict=True) if not is_right]
        here = sum((partial / v.name).stat().st_size for v, is_right in zip(files, is_here, strict=True) if is_right)
        _check_room(partial, source.size() - here)

        def fetch(version: VersionedFile) -> None:
            _fetch(source, version, partial / version.name, what)

        with progress("pulling", len(files), len(files) - len(missing)) as advance:
            waiting = [pool.submit(fetch, v) for v in missing]
            try:
                for one in waiting:
                    one.result()
                    advance("")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _is_right(path: Path, version: VersionedFile) -> bool:
    return version.md5 is not None and path.is_file() and md5_of(path, version.kind) == version.md5


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {needed / 1e9:.3g} GB are to come and {free / 1e9:.3g} GB are free; make room")


def _fetch(source: DataVersion, version: VersionedFile, path: Path, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}{_TEMPORARY}")
    source.fetch(version, temporary)
    if version.md5 is not None and (found := md5_of(temporary, version.kind)) != version.md5:
        temporary.unlink()
        raise UserError(
            f"{what}: '{version.name}' came with MD5 {found} where DVC recorded {version.md5}; the remote's copy is "
            "damaged: push it again from where it was made"
        )
    disk.replace(temporary, path)


def _recover(out: Path, origin: dict[str, Any]) -> None:
    """What a pull that was killed between its last two renames has left."""
    former = ownership.former_of(out)
    if former.exists():
        _already(former, origin)  # refuses what was not pulled, or was changed
        if out.exists():
            ownership.remove(former, out)
        else:
            former.replace(out)


def _replace(partial: Path, out: Path) -> None:
    # A folder cannot replace another in one step; the old one is moved away first, so that no mixture is ever seen.
    former = ownership.former_of(out)
    if out.exists():
        out.replace(former)
    disk.replace(partial, out)
    if former.exists():
        ownership.remove(former, out)
