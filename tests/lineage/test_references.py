from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedpo.errors import UserError
from dedpo.lineage.references import Reference, commit_of, parse
from dedpo.redact import without_userinfo

WORD = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda t: t[0] not in ".-")
WORDS = st.lists(WORD, min_size=1, max_size=3).map("/".join)
HOST = st.one_of(WORD, st.just("127.0.0.1"), st.just("[::1]"))
USER = st.one_of(st.just(""), WORD.map("{}@".format), st.tuples(WORD, WORD).map(lambda t: f"{t[0]}:{t[1]}@"))
PORT = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))
REPOS = st.one_of(
    st.just("."),
    WORDS,
    WORDS.map("/{}".format),
    st.builds("{}://{}{}{}/{}".format, st.sampled_from(["https", "ssh", "http", "git+ssh"]), USER, HOST, PORT, WORDS),
    st.builds("{}@{}:{}".format, WORD, HOST, WORDS),
    WORDS.map("file:///{}".format),
)
# Tags of a model registry hold an '@' (pairs@v1.2.0), branches a '/'.
REVISIONS = st.one_of(
    WORDS, st.builds("{}@{}".format, WORD, WORD), st.sampled_from(["HEAD~2", "v1^{commit}", "a" * 40])
)
PATHS = st.one_of(WORDS, st.builds("{}@{}/{}".format, WORD, WORD, WORD))


@given(repo=REPOS, revision=REVISIONS, path=PATHS)
def test_every_part_comes_back(repo: str, revision: str, path: str) -> None:
    assert parse(f"{repo}@{revision}:{path}") == Reference(repo, revision, path)


@given(repo=REPOS, path=PATHS)
def test_without_a_revision_it_is_head(repo: str, path: str) -> None:
    assert parse(f"{repo}:{path}") == parse(f"{repo}@:{path}") == Reference(repo, "HEAD", path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git@host:team/repo.git@v1:data", ("git@host:team/repo.git", "v1", "data")),
        ("https://user@host/team/repo:data", ("https://user@host/team/repo", "HEAD", "data")),
        ("ssh://git@host:22/team/repo.git@main:./a//b/", ("ssh://git@host:22/team/repo.git", "main", "a/b")),
        ("repo@v1:outputs/data", ("repo", "v1", "outputs/data")),
        (".@pairs@v1.2.0:outputs/data", (".", "pairs@v1.2.0", "outputs/data")),
    ],
)
def test_the_forms_that_people_write(text: str, expected: tuple[str, str, str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data",
        ".@v1",
        ":data",
        "@v1:data",
        ".@v1:",
        ".@v1:.",
        ".@v1:/etc",
        ".@v1:../x",
        ".@v1:a/../../x",
        "https://host/repo@v1",
        "--upload-pack=x@v1:d",
        ".@--all:d",
        ".@a b:d",
        ".@v1:a\nb",
        ".\n@v1:a",
    ],
)
def test_what_is_no_reference_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert len(str(error.value).splitlines()) == 1


def test_a_refusal_shows_no_token() -> None:
    with pytest.raises(UserError) as error:
        parse("https://me:s3cret@host/team/repo")
    assert "s3cret" not in str(error.value)


@given(user=WORD, secret=st.text("abcXYZ019._-@", min_size=1, max_size=8), host=WORD)
def test_credentials_are_taken_out(user: str, secret: str, host: str) -> None:
    assert without_userinfo(f"https://{user}:{secret}@{host}/x") == f"https://{host}/x"
    assert without_userinfo(f"fatal: '{secret}' ssh://{user}:{secret}@{host}:22/x") == (
        f"fatal: '{secret}' ssh://{user}@{host}:22/x"
    )
    assert without_userinfo(f"git@{host}:team/repo") == f"git@{host}:team/repo"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for tag in ("v1.0", "v1.1"):
        (folder / "a").write_text(tag)
        git(folder, "add", "a")
        git(folder, "commit", "-q", "-m", tag)
        git(folder, "tag", "-a", "-m", tag, tag)
    return folder


def test_tags_branches_and_commits_resolve_to_the_commit_here_and_elsewhere(repository: Path) -> None:
    first, last = git(repository, "rev-parse", "v1.0^{commit}"), git(repository, "rev-parse", "HEAD")
    for repo in (str(repository), f"file://{repository}"):
        assert commit_of(repo, "v1.0") == commit_of(repo, "refs/tags/v1.0") == first
        assert commit_of(repo, "main") == commit_of(repo, "HEAD") == commit_of(repo, last) == last
    assert commit_of(str(repository), first[:8]) == first
    # Only a fetch can complete it.
    assert commit_of(f"file://{repository}", first[:8]) is None


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_an_unknown_revision_names_the_nearest(repository: Path, form: str) -> None:
    with pytest.raises(UserError, match="'v1.3': no tag, branch or commit of .*; nearest are v1"):
        commit_of(form.format(repository), "v1.3")


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/missing"])
def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path, form: str) -> None:
    with pytest.raises(UserError, match="not a git repository"):
        commit_of(form.format(tmp_path), "v1")


def test_a_host_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"https?://127.0.0.1:1/team: git failed .*; check that 'git ls-remote' works"):
        commit_of("http://me:s3cret@127.0.0.1:1/team", "v1")


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """A folder over HTTP for those who send a password."""

    def do_GET(self) -> None:
        if "Authorization" in self.headers:
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded(repository: Path) -> Iterator[str]:
    """host:port/path of the repository behind a password, by git's oldest protocol."""
    git(repository, "update-server-info")
    handler = partial(_Guarded, directory=str(repository))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}/.git"
        server.shutdown()
        thread.join()


def test_refused_credentials_are_told_from_a_wrong_address(guarded: str, repository: Path) -> None:
    assert commit_of(f"http://me:s3cret@{guarded}", "main") == git(repository, "rev-parse", "main")
    with pytest.raises(UserError, match="credentials were refused or are missing") as error:
        commit_of(f"http://{guarded}", "main")
    assert len(str(error.value).splitlines()) == 1


def test_without_a_terminal_gits_own_ssh_command_is_used_away_from_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, ssh = tmp_path / "session", tmp_path / "ssh"
    ssh.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(seen)!r}, 'w').write(str(os.getsid(0)))\nos.execvp('sh', ['sh', '-c', sys.argv[-1]])\n"
    )
    ssh.chmod(0o755)
    (tmp_path / "config").write_text(f"[core]\n    sshCommand = {ssh}\n[ssh]\n    variant = simple\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    monkeypatch.setattr(sys, "stdin", None)
    assert commit_of(f"ssh://nowhere.invalid{repository}", "main") == git(repository, "rev-parse", "main")
    assert int(seen.read_text()) != os.getsid(0)
