"""What lies where in a pipeline's source."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.kubeflow import source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-pairs"
    made.mkdir()
    (made / "prompts.txt").write_text("a cat\n")
    (tmp_path / "secret.txt").write_text("no prompt\n")
    return made


def test_a_folder_is_read_itself(folder: Path) -> None:
    assert source.locate(folder, "prompts.txt") == (folder, None, folder / "prompts.txt")


def test_a_finished_import_and_ratings_that_came_later_are_found(folder: Path) -> None:
    (folder / "data").mkdir()
    assert source.locate(folder, "prompts.txt").data == folder, "an unfinished import is none"
    (folder / "data" / "manifest.json").write_text("{}")
    (folder / "human").mkdir()
    assert source.locate(folder, "prompts.txt") == (folder / "data", folder / "human", folder / "prompts.txt")


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "link.txt"])
def test_prompts_outside_the_source_are_refused(folder: Path, name: str) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    with pytest.raises(UserError, match="lies outside the source; name a text file in it"):
        source.locate(folder, name)


def test_the_nearest_name_is_given(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no 'promts.txt' in the source; did you mean 'prompts.txt'\?"):
        source.locate(folder, "promts.txt")
    with pytest.raises(UserError, match=r"no 'zzz' in the source; text files there: prompts.txt"):
        source.locate(folder, "zzz")


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        source.locate(tmp_path / "nowhere", "prompts.txt")


@pytest.mark.parametrize(("text", "pairs"), [("world", 2000), ("world:", 2000), ("world:200", 200)])
def test_the_embedded_pairs_by_number(text: str, pairs: int) -> None:
    assert source.world(text).pairs == pairs


@pytest.mark.parametrize("text", ["world:1", "world:-5", "world:many", "world:2.5", "world:²"])
def test_a_number_of_embedded_pairs_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="write 'world', or 'world:200'"):
        source.world(text)


def test_a_reference_is_pinned_to_its_commit_with_its_credentials() -> None:
    commit = "0" * 40
    assert source.pinned("https://me:token@host/r.git@v1:a/b", commit) == f"https://me:token@host/r.git@{commit}:a/b"
    assert source.pinned("git@host:team/r.git@v1:a", commit) == f"git@host:team/r.git@{commit}:a"
    assert source.pinned(".@v1:a", "") == ".@v1:a"
