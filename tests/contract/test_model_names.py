"""Which names may be a model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedpo.contract.model_names import check_name
from dedpo.errors import UserError


@pytest.mark.parametrize("name", ["owner/name", "owner/name/file.pt"])
def test_a_hub_id_passes(name: str) -> None:
    check_name(name, "here")


def test_what_lies_here_passes_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path), ".", "a", "a/b/c/d"):
        Path(name).mkdir(parents=True, exist_ok=True)
        check_name(name, "here")


@pytest.mark.parametrize("name", ["", "name", "a/b/c/d", "/no/such", "./no/such", "~/no"])
def test_anything_else_is_refused_with_its_setting(name: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.clip_model: {name}: nothing is there; name a folder or file, or a"):
        check_name(name, "data.clip_model")
