"""An import that is killed at any moment and started again ends with the same bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from tests.data.published import choice, picture, write_pickapic

ROWS = 96
SLOW = """
import sys, time
from pathlib import Path
from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.vision import images
decode, write = images.decode, tables.write
images.decode = lambda *args: (time.sleep(0.003), decode(*args))[1]
tables.write = lambda *args: (time.sleep(0.02), write(*args))[1]
stage.import_pairs(DataConfig(shard_rows=12), source=Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


def content(root):
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith("manifest.")]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def checked(out):
    store = out.with_name(f"{out.name}.partial") / ".checked.jsonl"
    return store.read_bytes().count(b"\n") if store.exists() else 0


def written(out):
    return len(list(out.with_name(f"{out.name}.partial").glob("pairs/*.parquet")))


@pytest.mark.parametrize("layout", ["folder", "pickapic"])
def test_killed_again_and_again(tmp_path, layout):
    source, out = tmp_path / "source", tmp_path / "out"
    if layout == "folder":
        source.mkdir()
        lines = ["prompt,image_0,image_1,preference"]
        for n in range(ROWS):
            for side in (0, 1):
                (source / f"{n}_{side}.png").write_bytes(picture(2 * n + side))
            lines.append(f"prompt {n},{n}_0.png,{n}_1.png,{n % 2}")
        (source / "pairs.csv").write_text("\n".join(lines))
    else:
        write_pickapic(source / "a.parquet", [choice(n) for n in range(ROWS)], rows_of_a_group=10)
    stage.import_pairs(DataConfig(shard_rows=12), source=source, out=tmp_path / "whole")

    kills = [lambda: checked(out) > 60, lambda: written(out) >= 1, lambda: written(out) >= 5]
    for is_time in kills:
        before = checked(out), written(out)
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(source), str(out)])
        deadline = time.monotonic() + 240
        while not is_time():
            assert process.poll() is None, "it finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (checked(out), written(out)) >= before
        assert not out.exists()
    stage.import_pairs(DataConfig(shard_rows=12), source=source, out=out)
    assert content(out) == content(tmp_path / "whole")
