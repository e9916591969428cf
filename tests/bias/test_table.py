"""Any CSV of preferences, without images."""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dedpo.bias import stage
from dedpo.contract.sections import BiasConfig
from dedpo.errors import UserError

PANDALM = Path(__file__).parents[3] / "shared" / "data" / "pandalm_preferences.csv"


def run(
    path: Path,
    root: Path,
    *,
    raters: tuple[str, ...] = (),
    values: dict[str, list[str]] | None = None,
    **columns: str,
) -> dict[str, Any]:
    names = {"human": "human", "ai": "ai", "prompt": "prompt"} | columns
    config = BiasConfig(workspace=str(root / "workspace"), permutations=500, bootstrap=300)
    return stage.run_table(config, table=path, raters=list(raters), out=root / "out", values=values, **names)


def write(root: Path, rows: list[tuple[object, ...]], header: str = "prompt,human,ai") -> Path:
    path = root / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


@pytest.mark.skipif(not PANDALM.is_file(), reason=f"{PANDALM} is not there")
def test_pandalm(tmp_path: Path) -> None:
    raters = ("human_1", "human_2", "human_3")
    facts = run(PANDALM, tmp_path, ai="gpt35", prompt="instruction", raters=raters)
    found = facts["agreement"]
    assert (round(found["value"], 4), round(found["kappa"], 3), found["n"]) == (0.7156, 0.493, 974)
    assert facts["ceiling"]["value"] == pytest.approx(0.92, abs=0.001)
    assert facts["ceiling"]["n"] == 999
    assert any("25 of 999 pairs have no answer of the annotator" in note for note in facts["notes"])
    assert (tmp_path / "out/bias.html").is_file()
    assert {"properties", "position_bias"} <= set(facts["could_not_compute"])


@pytest.mark.skipif(not PANDALM.is_file(), reason=f"{PANDALM} is not there")
def test_the_command_prints_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dedpo", "bias", "--table", str(PANDALM), "--human", "human", "--ai", "gpt35"]
    command += ["--prompt", "instruction", "--raters", "human_1,human_2,human_3", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "agreement: 0.7156" in done.stdout
    assert "kappa: 0.493" in done.stdout
    assert "on 974 pairs" in done.stdout
    assert "people with each other: 0.9199" in done.stdout


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        ([("a b", 1, 1)] * 30, {"kappa", "words", "clustered interval"}),
        ([(f"p {i}", 0.5, 0.5) for i in range(30)], {"kappa", "words", "agreement without ties"}),
        ([(f"p {i}", "", "nan") for i in range(5)], {"agreement", "words", "calibration"}),
        ([("", 1, 0), ("", 0, 0)], {"words", "clustered interval"}),
        ([("p", 1, 0.3)], {"kappa", "words", "clustered interval"}),
        ([(f"p {i}", 1, i % 2) for i in range(30)], {"kappa"}),
    ],
    ids=["one class, one prompt, duplicates", "ties", "NaN", "empty prompts", "one row", "one human class"],
)
def test_degenerate_tables_say_what_could_not_be_computed(
    tmp_path: Path, rows: list[tuple[object, ...]], reasons: set[str]
) -> None:
    facts = run(write(tmp_path, rows), tmp_path)
    assert reasons <= set(facts["could_not_compute"])
    page = (tmp_path / "out/bias.html").read_text(encoding="utf-8")
    for reason in reasons:
        assert facts["could_not_compute"][reason].replace("'", "&#39;") in page
    assert "nan" not in page.replace("Annotator", "").split("</style>")[1].split()


def test_exact_copies_are_counted_and_said(tmp_path: Path) -> None:
    facts = run(write(tmp_path, [("p", 1, 0), ("p", 1, 0), ("q", 0, 0)]), tmp_path)
    assert facts["notes"] == ["Rows that are exact copies of others: 1; all are counted."]
    assert facts["agreement"]["n"] == 3


def test_hostile_texts_are_inert(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>"
    rows = [(f"{bad} =cmd() {'y' * 10_000} {i}", i % 2, (i // 2) % 2) for i in range(40)]
    rows += [(f"plain {i}", 1, i % 2) for i in range(40)]
    facts = run(write(tmp_path, rows, f"prompt,human,{bad}"), tmp_path, ai=bad)
    assert bad in facts["headline"]
    for name in ("bias.html", "evidently.html"):
        assert "alert(1)</script>" not in (tmp_path / "out" / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,human,ai\np,2,1\n", "column 'human': what its values mean is not certain: 2 (1×)"),
        ("prompt,human,ai\n" + "p,1,1\n" * 200 + "p,oops,0\n", "line 202, column 'human': 'oops' is no preference"),
        ("prompt,human\np,1\n", "no column 'ai'; it has prompt, human"),
        ("prompt,human,ai\n", "no row below the header"),
        ("", "the file is empty"),
        ("prompt,human,ai\np,1\n", "2 cells under 3 columns"),
        ('prompt,human,ai\n"p,1,1\n', "row 2 or below"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        run(path, tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        run(tmp_path / "nowhere.csv", tmp_path)


@pytest.mark.parametrize(("delimiter", "encoding"), [("\t", "utf-8"), (";", "utf-8-sig"), (",", "utf-16")])
def test_tabs_semicolons_and_excels_unicode_are_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    lines = ["prompt,human,ai", *(f"p{i} é,{i % 2},{i % 2}" for i in range(10))]
    path = tmp_path / "table.csv"
    path.write_bytes("\n".join(line.replace(",", delimiter) for line in lines).encode(encoding))
    assert run(path, tmp_path)["agreement"]["value"] == 1


def coded(root: Path, first: str, second: str, ai: tuple[str, str] = ("0", "1")) -> Path:
    return write(root, [(f"p {i}", (first, second)[i % 2], ai[i % 2]) for i in range(30)])


def test_codings_are_those_of_the_import(tmp_path: Path) -> None:
    assert run(coded(tmp_path, "left", "right", ("A", "B")), tmp_path)["agreement"]["value"] == 1
    path = coded(tmp_path, "1", "2")
    with pytest.raises(UserError, match="column 'human': .* such as --first human=1 --second human=2"):
        run(path, tmp_path)
    for values in ({"first": ["1"], "second": ["2"]}, {"first": ["human=1"], "second": ["human=2"]}):
        assert run(path, tmp_path, values=values)["agreement"]["value"] == 1


def test_one_hot_columns_are_a_preference(tmp_path: Path) -> None:
    rows = [(f"p {i}", int(i % 3 == 0), int(i % 3 == 1), int(i % 3 == 2), (0, 1, 0.5)[i % 3]) for i in range(30)]
    path = write(tmp_path, rows, "prompt,winner_model_a,winner_model_b,winner_tie,ai")
    assert run(path, tmp_path, human="winner_model_a,winner_model_b,winner_tie")["agreement"]["value"] == 1


def test_a_list_in_a_cell_is_several_people(tmp_path: Path) -> None:
    facts = run(write(tmp_path, [(f"p {i}", "[1, 1, 0]", 1) for i in range(20)]), tmp_path)
    assert facts["agreement"]["value"] == 1
    assert (facts["ceiling"]["n"], facts["ceiling"]["value"]) == (20, pytest.approx(1 / 3))


def test_an_annotator_the_other_way_round_is_said_with_its_remedy(tmp_path: Path) -> None:
    facts = run(coded(tmp_path, "0", "1", ("1", "0")), tmp_path)
    told = stage.describe(facts)
    assert "warning: where neither ties, ai and people agree on 0.000 (0.000 to 0.114) of 30 pairs" in told
    assert "--first ai=1 --second ai=0" in told
    assert facts["reversed"] in facts["notes"]
    facts = run(coded(tmp_path, "0", "1", ("1", "0")), tmp_path, values={"first": ["ai=1"], "second": ["ai=0"]})
    assert (facts["agreement"]["value"], facts["reversed"], facts["warnings"]) == (1, None, [])


def test_a_rater_the_other_way_round_is_named(tmp_path: Path) -> None:
    rows = [(f"p {i}", i % 2, i % 2, i % 2, i % 2, 1 - i % 2) for i in range(30)]
    facts = run(write(tmp_path, rows, "prompt,human,ai,r1,r2,r3"), tmp_path, raters=("r1", "r2", "r3"))
    (warning,) = facts["warnings"]
    assert "r3 sides with the other raters on 0 of 30 pairs" in warning


@pytest.mark.parametrize("words", [("A", "B"), ("left", "right"), ("x, y", "z"), ("0", "1")])
def test_the_remedy_for_a_column_the_other_way_round_can_be_pasted(tmp_path: Path, words: tuple[str, str]) -> None:
    first, second = words
    said = {"first": [f'ai="{first}"'], "second": [f'ai="{second}"']} if first == "x, y" else None
    path = write(tmp_path, [(f"p {i}", i % 2, words[1 - i % 2]) for i in range(30)])
    told = str(run(path, tmp_path, values=said)["reversed"]).split("say so with ")[1]
    options = shlex.split(told)
    values = {name.removeprefix("--"): [text] for name, text in zip(options[::2], options[1::2], strict=True)}
    assert run(path, tmp_path, values=values)["agreement"]["value"] == 1


def test_probabilities_the_other_way_round_are_no_words(tmp_path: Path) -> None:
    path = write(tmp_path, [(f"p {i}", i % 2, 0.9 - 0.8 * (i % 2)) for i in range(30)])
    assert "write 1 − p in place of each p of ai" in str(run(path, tmp_path)["reversed"])


def test_a_columns_name_may_hold_what_the_options_do(tmp_path: Path) -> None:
    path = write(tmp_path, [(f"p {i}", 1 + i % 2, i % 2) for i in range(30)], "prompt,by = me,ai")
    with pytest.raises(UserError) as told:
        run(path, tmp_path, human="by = me")
    given = shlex.split(str(told.value).split("such as ")[1].split(" where ")[0])
    values = {"first": [given[1]], "second": [given[3]]}
    assert run(path, tmp_path, human="by = me", values=values)["agreement"]["value"] == 1


def test_a_cell_without_meaning_is_told_in_the_columns_own_words(tmp_path: Path) -> None:
    rows = [(f"p {i}", 1 + i % 2, i % 2) for i in range(200)]
    path = write(tmp_path, [*rows, ("p", "x", 1)])
    with pytest.raises(UserError, match="write one of the values that have a meaning"):
        run(path, tmp_path, values={"first": ["human=1"], "second": ["human=2"]})
