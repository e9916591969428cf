from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dedpo.errors import UserError
from dedpo.outputs import freshness
from dedpo.outputs.manifest import output_folder


def make(out: Path, text: str, **inputs: Path) -> Path:
    with output_folder(out, stage="label", config={}, inputs=inputs) as partial:
        (partial / "file").write_text(text)
    return out


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """prompts and a policy → samples → scores."""
    (tmp_path / "prompts.txt").write_text("a fox")
    make(tmp_path / "policy", "weights")
    make(tmp_path / "samples", "pictures", policy=tmp_path / "policy", prompts=tmp_path / "prompts.txt")
    return make(tmp_path / "scores", "values", samples=tmp_path / "samples")


def test_what_was_made_of_what_lies_there_is_fresh(chain: Path) -> None:
    freshness.require(chain, "run it again")
    freshness.require(chain.parent / "samples", "run it again")
    # Made again from the same, it is the same.
    make(chain.parent / "policy", "weights")
    freshness.require(chain.parent / "samples", "run it again")


@pytest.mark.parametrize("changed", ["policy", "prompts"])
def test_another_input_at_the_same_place_is_refused(chain: Path, changed: str) -> None:
    if changed == "policy":
        make(chain.parent / "policy", "other weights")
    else:
        (chain.parent / "prompts.txt").write_text("a hare")
    with pytest.raises(UserError, match=f"samples: made from another '{changed}' than lies at .*; draw them again"):
        freshness.require(chain.parent / "samples", "draw them again")
    freshness.require(chain, "its own input is still the same")


def test_a_chain_that_was_carried_away_says_nothing(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    away = tmp_path_factory.mktemp("away") / "scores"
    shutil.copytree(chain, away)
    make(chain.parent / "samples", "other pictures")
    freshness.require(away, "run it again")
    with pytest.raises(UserError):
        freshness.require(chain, "run it again")


def test_a_folder_without_a_manifest_says_nothing(tmp_path: Path) -> None:
    freshness.require(tmp_path, "run it again")
    freshness.require(tmp_path / "nowhere", "run it again")
