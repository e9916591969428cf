"""`dedpo plan`, run whole: files that can be read, and no prompt in any of them."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from dedpo.contract import tables
from dedpo.outputs.manifest import read_manifest
from tests.fixtures import write_tables


def test_the_command_writes_files_that_can_be_read(tmp_path: Path) -> None:
    work = tmp_path / "outputs"
    write_tables(work, n=60, n_labelled=30)
    prompts = tables.read(work / "data" / "pairs", tables.PAIRS, ["pair_id", "prompt"]).column("prompt").to_pylist()
    done = subprocess.run(
        [sys.executable, "-m", "dedpo", "plan", "--set", "plan.target=1.5"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = work / "plan"
    facts = json.loads((out / "plan.json").read_text(), parse_constant=lambda value: pytest.fail(f"{value} is no JSON"))
    assert facts["n_labelled"] == 30
    assert facts["advice"] in done.stdout
    assert facts["advice"] in (out / "plan.md").read_text()
    assert "outputs/plan/plan.png" in done.stdout.splitlines()[-1]
    with Image.open(out / "plan.png") as picture:
        picture.load()
        assert picture.size[0] > 1500
    ET.fromstring((out / "plan.svg").read_text())
    assert set(read_manifest(out)["outputs"]) == {"plan.json", "plan.md", "plan.png", "plan.svg"}
    written = "".join((out / f"plan.{ending}").read_text() for ending in ("json", "md", "svg")) + done.stdout
    assert not any(prompt in written for prompt in prompts)


def test_a_missing_input_names_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dedpo", "plan"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: outputs/labels/labels.parquet: no such file")
