"""A version of data by name, REPO@REVISION:PATH, and the commit that its revision stands for."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from dedpo import redact
from dedpo.errors import UserError, excerpt

FORM: Final = "write it as REPO@REVISION:PATH, such as .@v1:outputs/data"
HEAD: Final = "HEAD"
SECONDS: Final = 60.0
# The part of a URL, or of git's short form user@host:path, in which an @ or a : belongs to the address.
_AUTHORITY: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*|[^/@:]+@(?:\[[^]/]*\]|[^/@:]+):(?=.*:)", re.DOTALL)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED: Final = re.compile(r"[0-9a-f]{4,64}")
# git asks no questions of a pod or a CI job, and what it says is matched in English.
_QUIET: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS_REQUIRE": "never"}
_REFUSED: Final = re.compile(
    r"authentication failed|could not read (user|pass)|permission denied|access denied|terminal prompts disabled|"
    r"error: 40[13]|not authori[sz]ed",
    re.IGNORECASE,
)
_NO_REPOSITORY: Final = re.compile(r"not a git repo|not appear to be a git|repository .*not found", re.IGNORECASE)


class Reference(NamedTuple):
    """A file or folder at a revision of a git repository.

    Attributes:
        repo: a URL, git's short form user@host:path, or a local path.
        revision: tag, branch, commit, or what else git understands.
        path: relative to the repository's root, with '/'.
    """

    repo: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"{redact.without_userinfo(self.repo)}@{self.revision}:{self.path}"


def parse(text: str) -> Reference:
    """Take REPO@REVISION:PATH apart; REPO:PATH stands for REPO@HEAD:PATH.

    The path follows the last ':', the revision the first '@' outside a URL's user@host:port. A repository with an '@'
    in its own path is written with %40, or as a local folder.

    Raises:
        UserError: no path, a path out of the repository, or what git would take for an option.
    """
    authority = _AUTHORITY.match(text)
    begin = authority.end() if authority else 0
    where, colon, path = text[begin:].rpartition(":")
    name, _, revision = where.partition("@")
    repo = text[:begin] + name
    if not colon or not path or not repo:
        raise UserError(f"'{_shown(text)}': no reference to versioned data; {FORM}")
    revision = revision or HEAD
    for part in (repo, revision):
        if part.startswith("-") or not part.isprintable() or " " in revision:
            raise UserError(f"'{_shown(part)}': neither a repository nor a revision; {FORM}")
    return Reference(repo, revision, _inside(path))


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or not path.isprintable():
        raise UserError(f"'{excerpt(path)}': no path inside a repository; name a file or folder relative to its root")
    return pure.as_posix()


def _shown(text: str) -> str:
    return excerpt(redact.without_userinfo(text))


def is_local(repo: str) -> bool:
    """Whether `repo` is a folder on this machine."""
    return Path(repo).is_dir()


def commit_of(repo: str, revision: str) -> str | None:
    """The commit that `revision` names in `repo`, by `git rev-parse` in a folder and `git ls-remote` elsewhere.

    Returns:
        the full hash; None for an abbreviated commit of a repository elsewhere, which only a fetch can complete.

    Raises:
        UserError: no git, no such repository or revision (the nearest names are given), unreachable, or refused.
    """
    if not is_local(repo):
        return _remote_commit(repo, revision)
    found = git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", check=False)
    if not found:
        git(repo, "rev-parse", "--git-dir")
        raise unknown_revision(repo, revision)
    return found


def _remote_commit(repo: str, revision: str) -> str | None:
    named = names(repo)
    if revision in named:
        return named[revision]
    if _COMMIT.fullmatch(revision):
        return revision
    if _ABBREVIATED.fullmatch(revision):
        return None
    raise unknown_revision(repo, revision, named)


def unknown_revision(repo: str, revision: str, named: Iterable[str] | None = None) -> UserError:
    """The error that names the nearest tags and branches."""
    short = [n for n in (names(repo) if named is None else named) if not n.startswith("refs/")]
    near = difflib.get_close_matches(revision, short, n=3, cutoff=0.4) or sorted(short)[:5]
    hint = f"nearest are {', '.join(near)}" if near else "it has no commit yet"
    return UserError(f"'{excerpt(revision)}': no tag, branch or commit of {_shown(repo)}; {hint}")


def names(repo: str) -> dict[str, str]:
    """Tags, branches and HEAD of `repo` → commit, by short and by full name; a tag goes before a branch.

    Raises:
        UserError: as `commit_of`.
    """
    rows = [line.split("\t") for line in git(None, "ls-remote", "--", repo, repo=repo).splitlines() if "\t" in line]
    # 'refs/tags/v1^{}' is the commit behind an annotated tag and follows it.
    full = {ref.removesuffix("^{}"): commit for commit, ref in rows}
    short = {
        ref.removeprefix(prefix): commit
        for prefix in ("refs/heads/", "refs/tags/")
        for ref, commit in full.items()
        if ref.startswith(prefix)
    }
    return full | short


def git(
    folder: str | Path | None, *arguments: str, repo: str | None = None, check: bool = True, seconds: float = SECONDS
) -> str:
    """What git prints, run in `folder`; it never asks for a password.

    Args:
        repo: named in messages; `folder` if None.
        check: raise if git fails, rather than return what it printed.

    Raises:
        UserError: git is missing, took longer than `seconds`, or failed: says whether credentials, address or network.
    """
    where = _shown(str(folder if repo is None else repo))
    is_asked = sys.stdin is not None and sys.stdin.isatty()
    quiet = {} if is_asked else {n: v for n, v in _QUIET.items() if n not in os.environ}
    command: Sequence[str] = ["git", *(["-C", str(folder)] if folder else []), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, env=os.environ | quiet | {"LC_ALL": "C"}, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False, stdin=None if is_asked else subprocess.DEVNULL,
            # Away from the terminal, so that ssh asks nothing, whichever ssh the user's git is set to.
            start_new_session=not is_asked,
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError("git is not installed here; versioned data needs it") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{where}: git gave no answer in {seconds:.0f} s; check address and network") from None
    if done.returncode and check:
        raise UserError(_complaint(where, done.stderr))
    return done.stdout.strip()


def _complaint(where: str, stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["no message"]
    said = _shown(fatal[0].removeprefix("fatal: ").removeprefix("error: "))
    if _REFUSED.search(stderr):
        return f"{where}: git's credentials were refused or are missing ({said}); check that 'git ls-remote' works here"
    if _NO_REPOSITORY.search(stderr):
        return f"{where}: not a git repository ({said}); name the folder that holds .git, or the repository's URL"
    return f"{where}: git failed ({said}); check that 'git ls-remote' works here"
