import hashlib
import json
import shutil

import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.errors import UserError
from dedpo.outputs.manifest import read_manifest
from tests.data.published import choice, write_pickapic


def content(root):
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith("manifest.")]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def done(tmp_path):
    write_pickapic(tmp_path / "pick" / "a.parquet", [choice(i, i % 2) for i in range(5)])
    stage.import_pairs(DataConfig(shard_rows=2), source=tmp_path / "pick", out=tmp_path / "done")
    return tmp_path / "done"


def run(source, out):
    return stage.import_pairs(DataConfig(), source=source, out=out)


def test_a_finished_import_is_taken_over_byte_for_byte(done, tmp_path):
    summary = run(done, tmp_path / "out")
    assert summary == json.loads((done / "summary.json").read_text())
    assert content(tmp_path / "out") == content(done)
    assert len(tables.shard_paths(tmp_path / "out" / "pairs")) == 3
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["stage"], manifest["config"]["layout"]) == ("data", "import")
    assert manifest["config"]["taken_over"]["source"] == "pick"
    # And what was taken over can be taken over.
    run(tmp_path / "out", tmp_path / "again")
    assert content(tmp_path / "again") == content(done)


def test_the_copy_does_not_hang_on_the_source(done, tmp_path):
    run(done, tmp_path / "out")
    before = content(tmp_path / "out")
    for path in (done / "pairs").iterdir():
        path.write_bytes(b"overwritten")
    assert content(tmp_path / "out") == before


def test_a_changed_file_is_refused_by_name(done, tmp_path):
    path = tables.shard_paths(done / "pairs")[1]
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(UserError, match=f"{path.name}: its content is not what manifest.json says"):
        run(done, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_an_import_is_refused(done, tmp_path):
    lost = tables.shard_paths(done / "pairs")[0]
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(UserError, match=f"pairs/{lost.name} is missing .1 shards are.; fetch the folder again"):
        run(done, tmp_path / "out")
    lost.write_bytes(kept)
    (done / "pairs" / "pairs-0.parquet").write_bytes(kept)
    with pytest.raises(UserError, match=r"pairs/pairs-0\.parquet is not in its manifest\.json"):
        run(done, tmp_path / "out")


def test_what_is_not_in_a_manifest_is_no_way_out_of_the_folder(done, tmp_path):
    (tmp_path / "secret.parquet").write_text("secret")
    manifest = read_manifest(done)
    manifest["outputs"]["pairs/../../secret.parquet"] = hashlib.sha256(b"secret").hexdigest()
    (done / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="is missing"):
        run(done, tmp_path / "out")


def test_an_interrupted_copy_goes_on(done, tmp_path, monkeypatch):
    copy, copied = stage.copy_import._copy, []

    def interrupt(source, target, sha256):
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(target.name)
        copy(source, target, sha256)

    monkeypatch.setattr(stage.copy_import, "_copy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(done, tmp_path / "out")
    shutil.copy(done / "ratings.parquet", tmp_path / "out.partial" / "pairs" / ".pairs-1.parquet.tmp")
    monkeypatch.setattr(stage.copy_import, "_copy", copy)
    run(done, tmp_path / "out")
    assert content(tmp_path / "out") == content(done)
