"""Annotators that nobody asks: CLIP, scorers, people's ratings turned round, and files from elsewhere."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dedpo.asking.answers import log_folder
from dedpo.contract import tables
from dedpo.contract.pair_names import image_name, pair_id
from dedpo.contract.sections import LabelConfig
from dedpo.errors import UserError
from dedpo.label import stage
from dedpo.label.flip import UNRATED
from dedpo.vision import clip
from dedpo.vision.images import decode
from tests import tiny_clip
from tests.label.test_stage import drawn, labels, png

N = 40
Row = dict[str, Any]


def rows() -> list[Row]:
    """Pairs as an import writes them: named by their content."""
    found = []
    for prompt, x, y in zip(*drawn(), strict=True):
        pictures = [png(x), png(y)]
        shas = [hashlib.sha256(one["bytes"]).hexdigest() for one in pictures]
        for one, sha in zip(pictures, shas, strict=True):
            one["path"] = image_name(sha, "png")
        names = {"pair_id": pair_id(prompt.text, *shas), "prompt": prompt.text, "group": "", "source": "w"}
        found.append({**names, "image_0": pictures[0], "image_1": pictures[1]})
    return found


def write(folder: Path, pairs: Sequence[Row]) -> Path:
    for i in (0, N // 2):
        table = pa.Table.from_pylist(list(pairs[i : i + N // 2]), schema=tables.PAIRS.schema)
        tables.write(table, tables.PAIRS, folder / f"{i}.parquet")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("kinds") / "pairs", rows())


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pairs with the images of every one swapped."""
    turned = [row | {"image_0": row["image_1"], "image_1": row["image_0"]} for row in rows()]
    return write(tmp_path_factory.mktemp("kinds") / "swapped", turned)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "clip"
    tiny_clip.write(folder)
    return folder


def preferences(config: LabelConfig, pairs: Path, out: Path, **inputs: Any) -> dict[str, float | None]:
    stage.run(config, pairs=pairs, out=out, **inputs)
    return {row["pair_id"]: row["preference"] for row in labels(out)}


def ratings(folder: Path, given: dict[str, float]) -> Path:
    table = [{"pair_id": name, "rater": "r", "preference": p, "source": "w"} for name, p in given.items()]
    tables.write(pa.Table.from_pylist(table, tables.RATINGS.schema), tables.RATINGS, folder / "ratings.parquet")
    return folder / "ratings.parquet"


def people(pairs: Path) -> dict[str, float]:
    names = tables.read(pairs, tables.PAIRS, ["pair_id"]).column("pair_id").to_pylist()
    return dict(zip(names, np.random.default_rng(1).choice([0.0, 0.5, 1.0], N, p=[0.45, 0.1, 0.45]), strict=True))


# clip and score


def looking(model: Path, **changes: Any) -> LabelConfig:
    return LabelConfig.model_validate({"kind": "clip", "model": str(model), "name": "clip"} | changes)


def test_clip_prefers_the_image_that_is_nearer_to_the_prompt(pairs: Path, model: Path, tmp_path: Path) -> None:
    found = preferences(looking(model, temperature=2.0), pairs, tmp_path / "labels")
    one = clip.load(str(model), "here", torch.device("cpu"))
    for row in rows()[:5]:
        both = one.images([decode(row[side]["bytes"]) for side in ("image_0", "image_1")])
        logits = one.scale * (both @ one.texts([row["prompt"]])[0])
        assert found[row["pair_id"]] == pytest.approx(torch.softmax(logits / 2.0, 0)[1].item(), abs=1e-5)
    assert len({p for p in found.values() if p is not None and 0.01 < p < 0.99}) > N // 2
    told = labels(tmp_path / "labels")[0]
    assert (told["annotator"], told["template"], told["error"], told["attempts"]) == ("clip", "clip", None, 0)
    assert told["p_order_01"] == told["p_order_10"] == told["preference"], "it is shown no order"


def test_what_was_measured_is_kept_over_a_kill_a_temperature_and_a_cut(
    pairs: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    stage.run(looking(model), pairs=pairs, out=whole)
    (log,) = log_folder(whole).iterdir()
    kept = tmp_path / "labels.answers" / log.name
    kept.parent.mkdir()
    kept.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: N // 3]) + b'{"pair_id": "torn')
    assert stage.run(looking(model), pairs=pairs, out=tmp_path / "labels")["asked"] == N - N // 3
    assert (tmp_path / "labels/labels.parquet").read_bytes() == (whole / "labels.parquet").read_bytes()
    monkeypatch.setattr(clip, "load", None)
    warm = preferences(looking(model, temperature=3.0), pairs, tmp_path / "labels")
    logit = {row["pair_id"]: np.log(row["preference"] / (1 - row["preference"])) for row in labels(whole)}
    for name, p in warm.items():
        assert p == pytest.approx(1 / (1 + np.exp(-logit[name] / 3)), abs=1e-9)


def test_a_model_that_is_another_is_asked_anew(pairs: Path, tmp_path: Path) -> None:
    for scale in (3.0, 1.0):
        tiny_clip.write(tmp_path / "clip", log_scale=scale)
        assert stage.run(looking(tmp_path / "clip"), pairs=pairs, out=tmp_path / "labels")["asked"] == N


def test_a_scorer_says_what_it_was_trained_on(pairs: Path, model: Path, tmp_path: Path) -> None:
    config = looking(model, kind="score", processor=str(model))
    assert preferences(config, pairs, tmp_path / "score") == preferences(looking(model), pairs, tmp_path / "clip")
    assert {row["template"] for row in labels(tmp_path / "score")} == {"score: trained on human preferences"}


def test_an_image_that_cannot_be_decoded_has_no_label_and_says_why(model: Path, tmp_path: Path) -> None:
    broken = [row | ({"image_0": {"bytes": b"GIF89a", "path": "x"}} if i == 3 else {}) for i, row in enumerate(rows())]
    found = preferences(looking(model), write(tmp_path / "pairs", broken), tmp_path / "labels")
    assert [name for name, p in found.items() if p is None] == [broken[3]["pair_id"]]
    assert "an image is not a PNG" in next(row["error"] for row in labels(tmp_path / "labels") if row["error"])


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("tokenizer*", "label.model: .*: a tokenizer of 2 tokens, but the model reads"),
        ("model.safetensors", "label.model: .*: no CLIPModel could be loaded"),
    ],
)
def test_a_folder_in_part_is_one_line(missing: str, message: str, pairs: Path, tmp_path: Path) -> None:
    tiny_clip.write(tmp_path / "clip")
    for file in (tmp_path / "clip").glob(missing):
        file.unlink()
    with pytest.raises(UserError, match=message) as caught:
        stage.run(looking(tmp_path / "clip"), pairs=pairs, out=tmp_path / "labels")
    assert "\n" not in str(caught.value)


def test_no_such_model_names_the_setting(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"label\.model: /nowhere: nothing is there"):
        stage.run(looking(Path("/nowhere")), pairs=pairs, out=tmp_path / "labels")


# flip


def turned(**changes: Any) -> LabelConfig:
    return LabelConfig.model_validate({"kind": "flip", "control": True} | changes)


def test_a_share_of_the_ratings_is_turned_round(pairs: Path, tmp_path: Path) -> None:
    given = people(pairs)
    inputs = {"ratings": ratings(tmp_path, given)}
    assert preferences(turned(share=0.0), pairs, tmp_path / "none", **inputs) == given
    assert preferences(turned(share=1.0), pairs, tmp_path / "all", **inputs) == {n: 1 - p for n, p in given.items()}
    some = preferences(turned(share=0.3), pairs, tmp_path / "some", **inputs)
    assert some == preferences(turned(share=0.3), pairs, tmp_path / "again", **inputs)
    others = preferences(turned(share=0.3, seed=1), pairs, tmp_path / "others", **inputs)
    assert some != others
    assert {row["template"] for row in labels(tmp_path / "some")} == {"flip: a control made of human ratings"}


def test_the_share_is_met() -> None:
    from dedpo.label.flip import is_turned

    config = turned(share=0.2)
    assert sum(is_turned(config, f"{i:024x}") for i in range(20_000)) / 20_000 == pytest.approx(0.2, abs=0.015)


def test_pairs_that_nobody_rated_have_no_label(pairs: Path, tmp_path: Path) -> None:
    given = people(pairs)
    unrated = given.popitem()[0]
    found = stage.run(turned(), pairs=pairs, out=tmp_path / "labels", ratings=ratings(tmp_path, given))
    assert found["annotators"][0]["failures"] == {UNRATED: 1}
    assert [row["pair_id"] for row in labels(tmp_path / "labels") if row["error"] == UNRATED] == [unrated]
    few = ratings(tmp_path, dict(list(given.items())[:9]))
    with pytest.raises(UserError, match="31 of 40 pairs got no answer of 'flip'.*nobody has rated it"):
        stage.run(turned(), pairs=pairs, out=tmp_path / "few", ratings=few)


# file


def from_file(path: Path, **changes: Any) -> LabelConfig:
    return LabelConfig.model_validate({"kind": "file", "path": str(path), "max_failures": 0.5} | changes)


def sheet(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def test_a_table_by_pair_id_may_be_csv_or_parquet(pairs: Path, tmp_path: Path) -> None:
    """What a script writes that has read the shards with `datasets`."""
    given = {name: round(0.01 + 0.9 * p, 3) for name, p in people(pairs).items()}
    sheet(tmp_path / "vlm.csv", ["pair_id", "preference"], list(given.items()))
    pq.write_table(pa.table({"preference": [*given.values()], "pair_id": [*given]}), tmp_path / "vlm.parquet")
    for name in ("vlm.csv", "vlm.parquet"):
        assert preferences(from_file(tmp_path / name), pairs, tmp_path / f"{name}.labels") == given
        assert {row["annotator"] for row in labels(tmp_path / f"{name}.labels")} == {"vlm"}


def test_hpdv2s_rows_by_image_files_1_for_left_and_minus_1_for_right(pairs: Path, tmp_path: Path) -> None:
    """prompt, image_left_id, image_right_id, pref, as huggingface.co/datasets/aniketr/hpdv2-test-no-embeds has them."""
    given, lines = people(pairs), []
    for i, row in enumerate(rows()):
        for side in ("image_0", "image_1"):
            (tmp_path / f"{i}-{side}.png").write_bytes(row[side]["bytes"])
        p = given[row["pair_id"]]
        both = [f"{i}-image_0.png", f"{i}-image_1.png"]
        left = 1 if p == 0 else -1 if p == 1 else ""
        # Every other row shows the pair the other way round.
        lines.append([row["prompt"], *both, left] if i % 2 else [row["prompt"], *both[::-1], -left if left else ""])
    sheet(tmp_path / "pref.csv", ["prompt", "image_left_id", "image_right_id", "pref"], lines)
    columns = {"image_0": "image_left_id", "image_1": "image_right_id", "preference": "pref"}
    with pytest.raises(UserError, match=r"what its values mean is not certain.*label\.values, such as \{first: A"):
        stage.run(from_file(tmp_path / "pref.csv", columns=columns), pairs=pairs, out=tmp_path / "labels")
    config = from_file(tmp_path / "pref.csv", columns=columns, values={"first": "1", "second": "-1"})
    found = preferences(config, pairs, tmp_path / "labels")
    assert found == {name: None if p == 0.5 else p for name, p in given.items()}


def test_pick_a_pics_rows_with_images_in_them(pairs: Path, tmp_path: Path) -> None:
    """caption, jpg_0, jpg_1, label_0, label_1: label_0 is P(image 0 is better)."""
    given = people(pairs)
    table = {
        "caption": [row["prompt"] for row in rows()],
        "jpg_0": [row["image_0"]["bytes"] for row in rows()],
        "jpg_1": [row["image_1"]["bytes"] for row in rows()],
        "label_0": [1 - given[row["pair_id"]] for row in rows()],
        "label_1": [given[row["pair_id"]] for row in rows()],
    }
    pq.write_table(pa.table(table), tmp_path / "pick.parquet")
    assert preferences(from_file(tmp_path / "pick.parquet"), pairs, tmp_path / "labels") == given
    config = from_file(tmp_path / "pick.parquet", columns={"preference": "label_0"})
    assert preferences(config, pairs, tmp_path / "alone") == given


def test_argillas_words_of_several_people(pairs: Path, tmp_path: Path) -> None:
    """'image_1' and 'image_2' in a list, a person each, as data-is-better-together's image preferences have them."""
    lines = [[row["pair_id"], ["image_1", "image_2", "image_2", "image_2"]] for row in rows()]
    names, answers = zip(*lines, strict=True)
    pq.write_table(pa.table({"pair_id": names, "preference": answers}), tmp_path / "argilla.parquet")
    assert set(preferences(from_file(tmp_path / "argilla.parquet"), pairs, tmp_path / "labels").values()) == {0.75}


def test_lacking_foreign_and_wrong_rows_are_told_in_a_line_each(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = list(people(pairs).items())
    lines = [*given[:-4], [given[-4][0], "maybe"], ["f" * 24, 1], ["", 0]]
    sheet(tmp_path / "vlm.csv", ["pair_id", "preference"], lines)
    found = stage.run(from_file(tmp_path / "vlm.csv"), pairs=pairs, out=tmp_path / "labels")
    assert found["annotators"][0]["failures"] == {"the file has no preference for it": 4}
    told = capsys.readouterr().err
    assert "vlm.csv: 4 of 40 pairs are not in it, such as " in told
    assert f"vlm.csv: 1 rows are about pairs that are not here, such as {'f' * 24}" in told
    assert "vlm.csv: 2 rows are set aside, listed in set_aside-vlm.csv" in told
    listed = (tmp_path / "labels" / "set_aside-vlm.csv").read_text().splitlines()
    assert listed[1:] == ["38,preference has no meaning,maybe,", "40,no pair_id,,"]
    strict = from_file(tmp_path / "vlm.csv", max_failures=0.05)
    with pytest.raises(UserError, match="4 of 40 pairs got no answer of 'vlm'"):
        stage.run(strict, pairs=pairs, out=tmp_path / "strict")


@pytest.mark.parametrize(
    ("header", "line", "changes", "message"),
    [
        (
            ["pair_id", "score"],
            ["x", 1],
            {},
            "no column 'preference'; name it in label.columns; there are: pair_id, sc",
        ),
        (["prompt", "preference"], ["x", 1], {}, "neither a column 'pair_id' nor 'image_0' says which pair a row is"),
        (["pair_id", "preference"], ["x", 1], {"columns": {"pair_id": "id"}}, "no column 'id'; name it in label.colu"),
        (["pair_id", "preference"], ["x", 1], {}, "none of its 1 rows has a preference for a pair here"),
        (
            ["prompt", "image_0", "image_1", "preference"],
            ["x", "a.png", "b.png", 1],
            {},
            "the first: row 2: no such im",
        ),
    ],
)
def test_a_table_that_says_nothing_is_refused(
    header: list[str], line: list[Any], changes: Row, message: str, pairs: Path, tmp_path: Path
) -> None:
    sheet(tmp_path / "x.csv", header, [line])
    with pytest.raises(UserError, match=message) as caught:
        stage.run(from_file(tmp_path / "x.csv", **changes), pairs=pairs, out=tmp_path / "labels")
    assert "\n" not in str(caught.value)


def test_no_such_file_is_told_before_anybody_is_asked(pairs: Path, tmp_path: Path) -> None:
    several = [{"base_url": "http://127.0.0.1:9/v1"}, {"kind": "file", "path": "nowhere.csv"}]
    with pytest.raises(UserError, match=r"label\.path: nowhere\.csv: no such file"):
        stage.run(LabelConfig.model_validate({"annotators": several}), pairs=pairs, out=tmp_path / "labels")


# of every kind


def test_swapping_the_images_of_every_pair_turns_p_into_1_minus_p(
    pairs: Path, swapped: Path, model: Path, tmp_path: Path
) -> None:
    given = people(pairs)
    first_shown = {row["pair_id"]: (row["image_0"]["bytes"], row["image_1"]["bytes"]) for row in rows()}
    for name, both in first_shown.items():
        for side, data in enumerate(both):
            (tmp_path / f"{name}-{side}.png").write_bytes(data)
    lines = [[r["prompt"], f"{r['pair_id']}-0.png", f"{r['pair_id']}-1.png", given[r["pair_id"]]] for r in rows()]
    table = sheet(tmp_path / "vlm.csv", ["prompt", "image_0", "image_1", "preference"], lines)
    several = [
        {"kind": "clip", "model": str(model)},
        {"kind": "score", "model": str(model), "processor": None, "name": "scorer"},
        {"kind": "flip", "control": True, "share": 0.4},
        {"kind": "file", "path": str(table)},
    ]
    config = LabelConfig.model_validate({"annotators": several})
    for folder, people_said in ((pairs, given), (swapped, {n: 1 - p for n, p in given.items()})):
        out = tmp_path / folder.name
        out.mkdir()
        stage.run(config, pairs=folder, out=out / "labels", ratings=ratings(out, people_said))
    one, other = ({(r["annotator"], r["pair_id"]): r["preference"] for r in labels(tmp_path / name / "labels")}
                  for name in (pairs.name, swapped.name))  # fmt: skip
    assert len(one) == 4 * N
    assert all(abs(one[key] + other[key] - 1) <= 1e-12 for key in one)
