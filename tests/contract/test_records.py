"""A stage's record that is lost, torn or foreign: whoever reads it names the file and what makes it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dedpo.contract import records
from dedpo.contract.sections import DataConfig, GateConfig, PromoteConfig
from dedpo.data import stage as data
from dedpo.decide import gate, promotion
from dedpo.errors import UserError
from dedpo.kubeflow import volume
from dedpo.outputs import manifest
from dedpo.train import reading
from dedpo.vision import adapter_files, diffusion
from tests.data.published import choice, write_pickapic

LOST: dict[str, bytes | None] = {
    "lost": None,
    "empty": b"",
    "torn": b'{"pairs": 1, "agr',
    "not UTF-8": b"\xff\xfe{}",
    "zeros": bytes(100),
    "a list": b"[]",
    "a number": b"5",
    "nested": b"[" * 100_000,
}


def _gate(folder: Path) -> None:
    for name in ("bias", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for path in (folder / "bias/bias.json", folder / "labels/summary.json"):
        if not path.exists():
            path.write_text('{"agreement": null, "pairs": 1, "answered": 1}', encoding="utf-8")
    gate.run(GateConfig(), bias=folder / "bias", labels=folder / "labels", out=folder / "gate")


def _gate_without(folder: Path, lost: str) -> None:
    (folder / lost).parent.mkdir()
    if (folder / "f").exists():
        (folder / "f").rename(folder / lost)
        _gate(folder)
    else:
        records.read(folder / lost, "run 'dedpo bias' first")


def _take_over(folder: Path) -> None:
    write_pickapic(folder / "pick" / "a.parquet", [choice(i, i % 2) for i in range(5)])
    data.import_pairs(DataConfig(), source=folder / "pick", out=folder / "done")
    (folder / "done/summary.json").unlink()
    if (folder / "f").exists():
        (folder / "f").rename(folder / "done/summary.json")
    data.import_pairs(DataConfig(), source=folder / "done", out=folder / "out")


def _promote(folder: Path) -> None:
    promotion.run(PromoteConfig(), metrics=folder / "f", policy=None, out=folder / "out")


def _targets(folder: Path) -> None:
    if (folder / "f").exists():
        (folder / "f").rename(folder / "targets.json")
    reading.read_targets(folder)


def _finished(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    volume.finished(folder, "f")


def _adapters(folder: Path) -> None:
    (folder / "f").rename(folder / adapter_files.BASE)
    (folder / adapter_files.WEIGHTS).write_bytes(b"")
    diffusion.load(str(folder), "sample")


READERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "bias.json for the gate": (lambda f: _gate_without(f, "bias/bias.json"), "bias/bias.json", "dedpo bias"),
    "summary.json of an import": (_take_over, "done/summary.json", "fetch the folder again, or import its source"),
    "metrics.json for the promotion": (_promote, "f", "dedpo report"),
    "targets.json for the training": (_targets, "targets.json", "run 'dedpo targets' again"),
    "what a finished try has counted": (_finished, "f", "to run it again"),
}


@pytest.mark.parametrize("content", LOST.values(), ids=LOST)
@pytest.mark.parametrize("reader", READERS)
def test_a_lost_record_is_named_with_what_makes_it_again(reader: str, content: bytes | None, tmp_path: Path) -> None:
    read, name, remedy = READERS[reader]
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError) as raised:
        read(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert remedy in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_adapters_without_their_base_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError, match=f"{adapter_files.BASE}: .*; .* train again"):
        _adapters(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff"])
def test_a_manifest_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest.json: .*; make the folder again"):
        manifest.read_manifest(tmp_path)


def test_a_record_without_what_is_asked_of_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"a": 1}', encoding="utf-8")
    assert records.read(tmp_path / "f", "make it again", {"a"}) == {"a": 1}
    with pytest.raises(UserError, match="f: says nothing of 'b'; make it again"):
        records.read(tmp_path / "f", "make it again", {"a", "b"})
