"""What a DVC or git repository holds at a commit: the files below a path with their hashes, fetched one by one.

The one client of DVC. Nothing of the repository is checked out, run or written.
"""

from __future__ import annotations

import difflib
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from dedpo import redact
from dedpo.errors import UserError, excerpt
from dedpo.lineage import references
from dedpo.lineage.references import Reference

FETCH_SECONDS: Final = 1800.0
# Names of errors of the storage clients: each client has its own classes, which are not imported for a comparison.
_NO_CREDENTIALS: Final = ("credential", "auth", "permission", "forbidden", "token")
_HASHES: Final = ("md5", "md5-dos2unix")


class VersionedFile(NamedTuple):
    """One file of a version.

    Attributes:
        name: relative to what was asked for, with '/'; of a single file its own name.
        path: in the DVC project that tracks it, else in the repository.
        md5: as DVC recorded it; None where git keeps the file itself.
        kind: 'md5', or 'md5-dos2unix' for what DVC 2 tracked.
        place: DVC's entry, or the path in git's tree.
    """

    name: str
    path: str
    md5: str | None
    kind: str
    place: Any


class DataVersion:
    """A repository at a commit; use `opened`.

    Attributes:
        path: what was asked for, from the root of git's tree.
    """

    def __init__(self, repo: Any, reference: Reference, path: str) -> None:
        self.path = path
        self._repo = repo
        self._reference = reference
        self._index: Any = None
        self._files: list[VersionedFile] | None = None

    @property
    def is_single(self) -> bool:
        """Whether a file and no folder was asked for."""
        return [v.path for v in self.found()] in ([self.path], ["/".join(self._key)])

    @property
    def _project(self) -> PurePosixPath:
        """The folder of the DVC project, from the root of git's tree."""
        return PurePosixPath(self._repo.root_dir.lstrip("/") if self._repo.dvc_dir is not None else "")

    @property
    def _key(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).relative_to(self._project).parts

    def files(self) -> list[VersionedFile]:
        """The files at the reference's path, sorted by name; a single file has its own name.

        Raises:
            UserError: nothing is there (the nearest paths are named), the list of a folder's files was not pushed, is
                damaged or names files outside the folder, or the remote does not answer.
        """
        if not self.found():
            raise self._unknown_path()
        return self.found()

    def found(self) -> list[VersionedFile]:
        """The same; empty if nothing is there."""
        if self._files is None:
            self._check_projects()
            both = [*self._tracked_by_dvc(self._key), *self._tracked_by_git()]
            self._files = sorted(both, key=lambda v: v.name)
        return self._files

    def _check_projects(self) -> None:
        """DVC reads one project at a time: data of one further down would be missing without a word."""
        if others := self._projects(f"/{self.path}"):
            raise UserError(
                f"{self._reference}: another DVC project lies in '{excerpt(others[0])}'; name a path in one of them"
            )

    def _projects(self, root: str) -> list[str]:
        """Folders of DVC projects below `root` other than this one."""
        below = self._below(root) if self._repo.fs.isdir(root) else []
        found = {PurePosixPath(path.lstrip("/")).parent.parent for path in below if path.endswith("/.dvc/config")}
        return sorted(str(path) for path in found - {self._project})

    def size(self) -> int:
        """Bytes at the reference's path as DVC recorded them; 0 where it did not."""
        if self._repo.dvc_dir is None:
            return 0
        entry = self._open_index().get(self._key)
        return int(entry.meta.size or 0) if entry is not None and entry.meta else 0

    def fetch(self, version: VersionedFile, to: Path) -> None:
        """Write one file's content to `to`, from DVC's cache, its remote, or git.

        Raises:
            UserError: it was not pushed, or the remote refuses or does not answer.
        """
        from dvc_data.fs import DataFileSystem

        try:
            if version.md5 is None:
                self._repo.fs.get_file(version.place, str(to))
            else:
                info = {"type": "file", "entry": version.place}
                DataFileSystem(index=self._index).get_file(version.path, str(to), info=info)
        except Exception as error:
            raise self._failure(error) from error

    def _tracked_by_dvc(self, key: tuple[str, ...]) -> Iterator[VersionedFile]:
        if self._repo.dvc_dir is None:
            return
        index = self._open_index()
        try:
            entries = list(index.iteritems(prefix=key))
        except KeyError:
            return
        except Exception as error:
            raise self._failure(error.__cause__ or error) from error
        self._check_lists(index, key)
        for where, entry in entries:
            if entry.meta and entry.meta.isdir:
                continue
            info = entry.hash_info
            if not info or info.name not in _HASHES:
                raise UserError(
                    f"{self._reference}: '{excerpt('/'.join(where))}' has no MD5 in DVC (an import that was not "
                    "downloaded); run 'dvc update' and 'dvc push' where it is tracked"
                )
            inside = where[len(key) :] or where[-1:]
            yield VersionedFile("/".join(inside), "/".join(where), info.value, info.name, entry)

    def _open_index(self) -> Any:
        if self._index is None:
            try:
                self._index = self._repo.index.data["repo"]
            except Exception as error:
                raise self._failure(error) from error
        return self._index

    def _check_lists(self, index: Any, key: tuple[str, ...]) -> None:
        """Every list of a folder's files has the hash that dvc.lock gives it, and names nothing outside the folder."""
        from dvc_data.hashfile.tree import Tree

        for where, entry in [(key[:n], index.get(key[:n])) for n in range(1, len(key))] + list(index.iteritems(key)):
            if entry is None or entry.hash_info is None or not entry.hash_info.isdir:
                continue
            tree: Any = Tree()  # type: ignore[no-untyped-call]
            for inside, child in index.iteritems(prefix=where):
                if any(part in ("", ".", "..") or "\0" in part or os.sep in part for part in inside):
                    raise UserError(f"{self._reference}: refused: the list of files names {excerpt(repr(inside))}")
                if inside != where and child.hash_info is not None:
                    tree.add(inside[len(where) :], None, child.hash_info)
            tree.digest()
            if tree.hash_info.value != entry.hash_info.value:
                raise UserError(
                    f"{self._reference}: the list of files of '{'/'.join(where)}' is not the one that was committed "
                    f"(its hash is {tree.hash_info.value}); push it again from where it was made"
                )

    def _tracked_by_git(self) -> Iterator[VersionedFile]:
        fs = self._repo.fs
        root = f"/{self.path}"
        if not fs.exists(root):
            return
        for path in [root] if fs.isfile(root) else self._below(root):
            name = fs.relpath(path, root) if path != root else PurePosixPath(root).name
            if any(part in ("", ".", "..") for part in name.split("/")):
                raise UserError(f"{self._reference}: refused: git's tree names {excerpt(repr(name))}")
            if not name.endswith((".dvc", ".gitignore")):
                yield VersionedFile(name, path.lstrip("/"), None, "md5", path)

    def _below(self, root: str) -> list[str]:
        """The files that git keeps below `root`."""
        try:
            return list(self._repo.fs.find(root))
        except RecursionError:  # a tree that git itself would not write: '..' leads back up
            raise UserError(f"{self._reference}: refused: git's tree has a folder '.' or '..', or too deep") from None

    def _unknown_path(self) -> UserError:
        known = {str(self._project.joinpath(*key)) for key in self._open_index()} if self._repo.dvc_dir else set()
        known |= {path.lstrip("/") for path in self._below("/") if not path.endswith((".dvc", ".gitignore"))}
        known = {path for path in known if ".dvc" not in PurePosixPath(path).parts}
        known |= {str(parent) for path in known for parent in PurePosixPath(path).parents}
        near = difflib.get_close_matches(self.path, sorted(known - {"."}), n=3, cutoff=0.5)
        hint = f"nearest are {', '.join(map(excerpt, near))}" if near else "'dvc list' shows what is there"
        if others := self._projects("/"):
            hint = f"{hint}; DVC projects lie in {', '.join(map(excerpt, others[:5]))}"
        return UserError(f"{self._reference}: neither DVC nor git tracks '{self._reference.path}' there; {hint}")

    def _failure(self, error: BaseException) -> UserError:
        """The line that says what a storage client's exception comes to."""
        from dvc.exceptions import DvcException

        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise error
        if isinstance(error, DvcException):
            return UserError(f"{self._reference}: DVC cannot read the repository ({excerpt(str(error))})")
        name = self._repo.config["core"].get("remote")
        remote = self._repo.config["remote"].get(name, {})
        where = f"remote '{name}' ({excerpt(redact.without_userinfo(str(remote.get('url'))))})"
        said = excerpt(redact.without_userinfo(f"{type(error).__name__}: {error}"))
        if isinstance(error, ImportError):
            return UserError(f"{where}: {excerpt(str(error))}; pip install it")
        if name is None or name == "auto-generated-upstream":
            return UserError(
                f"{self._reference}: data is missing and the repository names no remote; 'dvc remote add -d' one, "
                "commit .dvc/config and 'dvc push'"
            )
        if isinstance(error, FileNotFoundError):
            return UserError(
                f"{self._reference}: not in {where} ({said}); run 'dvc push' where it was made, and check the address"
            )
        if isinstance(error, PermissionError) or any(word in type(error).__name__.lower() for word in _NO_CREDENTIALS):
            return UserError(f"{where}: credentials are missing or were refused ({said}); see docs/data.md")
        return UserError(f"{where}: cannot be read ({said}); check address and network and run again to go on")


@contextmanager
def opened(reference: Reference) -> Iterator[tuple[DataVersion, str]]:
    """Open the repository at the reference's revision; yield it and the full commit.

    A folder is read where it is, with its cache and remotes; from elsewhere the one commit is fetched into a temporary
    folder.

    Raises:
        UserError: no such repository or revision, unreachable, refused, a broken dvc.lock, or DVC is missing.
    """
    commit = references.commit_of(reference.repo, reference.revision)
    with tempfile.TemporaryDirectory(prefix="dedpo-pull-") as folder:
        settings: dict[str, dict[str, Any]] = {"core": {"site_cache_dir": folder}, "cache": {"type": ["copy"]}}
        if references.is_local(reference.repo):
            assert commit is not None
            root = reference.repo
        else:
            root = f"{folder}/repository"
            commit = _fetch(reference, commit, root)
            settings["cache"] |= {"dir": f"{folder}/cache"}
        with ExitStack() as stack:
            top = stack.enter_context(_open(reference, root, commit, settings))
            sources = [
                DataVersion(stack.enter_context(_project(top, path, settings)), reference, path)
                for path in _paths(reference)
            ]
            # Looked into only where there is a choice: what is here already is not asked for.
            first = sources[0]
            yield first if len(sources) == 1 else next((s for s in sources if s.found()), first), commit


def _paths(reference: Reference) -> list[str]:
    """What a reference's path may mean from the root of git's tree: in a folder of a working copy, first from there."""
    inside = ""
    if references.is_local(reference.repo):
        inside = references.git(reference.repo, "rev-parse", "--show-prefix", check=False)
    return [f"{inside}{reference.path}", reference.path] if inside else [reference.path]


def _project(top: Any, path: str, settings: dict[str, dict[str, Any]]) -> Any:
    """The DVC project nearest above `path` (`dvc init --subdir` makes one in a folder of a repository); else `top`."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.repo.open_repo import _get_remote_config

    folder = PurePosixPath("/", path)
    while not top.fs.isdir(str(folder)):
        folder = folder.parent
    try:
        found = Repo.find_root(str(folder), top.fs)
    except NotDvcRepoError:
        return nullcontext(top)
    if found == top.root_dir:
        return nullcontext(top)
    # As DVC itself opens a repository: a remote's relative address is one of the working copy.
    here = Path(top.scm.root_dir, found.lstrip("/"))
    remotes = _get_remote_config(str(here)) if (here / ".dvc").is_dir() else {}
    return Repo(root_dir=found, fs=top.fs, scm=top.scm, config=remotes | settings)


def _open(reference: Reference, root: str, commit: str, settings: dict[str, Any]) -> Any:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        return Repo.open(root, rev=commit, uninitialized=True, config=settings)
    except DvcException as error:
        raise UserError(f"{reference}: DVC cannot read the repository ({excerpt(str(error))})") from None


def _fetch(reference: Reference, commit: str | None, folder: str) -> str:
    """Fetch the commit, alone if the server gives single commits; return its full hash."""
    repo = reference.repo
    references.git(None, "init", "--quiet", "--bare", folder, repo=repo)
    if commit is not None:
        references.git(
            folder, "fetch", "--quiet", "--no-tags", "--depth=1", "--", repo, commit, repo=repo, check=False,
            seconds=FETCH_SECONDS,
        )  # fmt: skip
    wanted = f"{commit or reference.revision}^{{commit}}"
    resolve = ("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    if found := references.git(folder, *resolve, check=False):
        return found
    everything = ("fetch", "--quiet", "--", repo, "+refs/*:refs/*")
    references.git(folder, *everything, repo=repo, seconds=FETCH_SECONDS)
    if found := references.git(folder, *resolve, check=False):
        return found
    raise references.unknown_revision(repo, reference.revision)
