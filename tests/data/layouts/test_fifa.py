import pytest

from dedpo.contract import tables
from dedpo.contract.sections import DataConfig
from dedpo.data import stage
from dedpo.data.layouts.fifa import read_index
from dedpo.errors import UserError
from tests.data.published import choice, write_pickapic


@pytest.fixture
def pick(tmp_path):
    """Twelve rows of a training split in two files, and a test split that the index does not count."""
    for i in range(2):
        path = tmp_path / "pick" / f"train-{i:05d}-of-00002.parquet"
        write_pickapic(path, [choice(n) for n in range(6 * i, 6 * i + 6)])
    write_pickapic(tmp_path / "pick" / "test-00000-of-00001.parquet", [choice(n) for n in range(50, 53)])
    return tmp_path / "pick"


def run(source, out, **arguments):
    return stage.import_pairs(DataConfig(), source=source, out=out, **arguments)


def prompts_of(out):
    (shard,) = tables.iterate(out / "pairs", tables.PAIRS)
    return shard.column("prompt").to_pylist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.txt", "7\n0\n11\n"),
        ("index.json", "[7, 0, 11]"),
        ("index.json", '{"index": [7, 0, 11], "score": [1, 2, 3]}'),
        ("index.json", '{"ranking_id": [1007, 1000, 1011]}'),
        ("index.csv", "score,index\n0.5,7\n0.1,0\n0.2,11\n"),
        ("index.csv", "ranking_id\n1007\n1000\n1011\n"),
    ],
)
def test_an_index_picks_rows_of_the_training_split_in_their_own_order(pick, tmp_path, name, content):
    (pick / name).write_text(content)
    summary = run(pick, tmp_path / "out")
    assert prompts_of(tmp_path / "out") == ["prompt 0", "prompt 7", "prompt 11"]
    assert (summary["layout"], summary["rows"], summary["published_splits"]) == ("fifa", 3, {"train": 3})


def test_an_index_of_any_name_can_be_the_source_itself(pick, tmp_path):
    (pick / "fifa-5k.json").write_text("[3]")
    run(pick / "fifa-5k.json", tmp_path / "out")
    assert prompts_of(tmp_path / "out") == ["prompt 3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.txt", "", "the index is empty"),
        ("index.txt", "1\ntwo\n", "not an index"),
        ("index.txt", "1 5 1", "index 1 is named 2 times"),
        ("index.txt", "12", "row 12 is not there: the Parquet files hold 12 rows"),
        ("index.txt", "-1 3", "row -1 is not there"),
        ("index.json", "[1.5]", "a number is not whole"),
        ("index.json", "[1", "not an index"),
        ("index.json", '{"rows": [1]}', "neither a list nor index or ranking_id"),
        ("index.json", '"text"', "not an index"),
        ("index.csv", "row\n1\n", "no column index or ranking_id"),
        ("index.csv", 'index\n"1\n2\n', "not an index .unexpected end of data"),
        pytest.param("index.json", "[" * 100_000, "not an index", id="nested"),
        pytest.param("index.json", '{"index": ' * 100_000, "not an index", id="nested in objects"),
        ("index.csv", "ranking_id\n1003\n99\n", "ranking_id 99 is not in the Parquet files"),
    ],
)
def test_what_is_wrong_with_an_index_is_said(pick, tmp_path, name, content, message):
    (pick / name).write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        run(pick, tmp_path / "out")
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_would_shift_the_rows(pick, tmp_path):
    (pick / "index.txt").write_text("3")
    (pick / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="train-00000-of-00002 is missing"):
        run(pick, tmp_path / "out")
    (pick / "index.txt").unlink()
    (pick / "index.json").write_text('{"ranking_id": [1009]}')
    run(pick, tmp_path / "out")
    assert prompts_of(tmp_path / "out") == ["prompt 9"]


def test_an_index_without_parquet_files_says_what_it_needs(tmp_path):
    (tmp_path / "index.txt").write_text("3")
    with pytest.raises(UserError, match=r"no Parquet file of the training split lies there; index\.txt needs them"):
        run(tmp_path, tmp_path / "out", layout="fifa")


def test_numbers_are_sorted(tmp_path):
    (tmp_path / "a.txt").write_text("5 3 4")
    assert read_index(tmp_path / "a.txt") == ("index", [3, 4, 5])


@pytest.mark.parametrize("name", ["index.jsonl", "index.npy", "train_index.txt", "kept.csv", "data/rows.pkl"])
def test_an_index_that_cannot_be_read_is_refused_and_not_passed_over(pick, tmp_path, name):
    (pick / "data").mkdir()
    (pick / name).write_text("1")
    with pytest.raises(UserError, match="may be an index of their rows"):
        run(pick, tmp_path / "out")
    assert run(pick, tmp_path / "out", layout="pickapic")["rows"] == 15
    if name.endswith((".jsonl", ".npy")):
        with pytest.raises(UserError, match="not an index"):
            run(pick / name, tmp_path / "again")


def test_two_indices_are_refused(pick, tmp_path):
    (pick / "index.txt").write_text("1")
    (pick / "index.json").write_text("[2]")
    with pytest.raises(UserError, match="lies there as well; keep one index"):
        run(pick, tmp_path / "out")


def test_what_a_download_leaves_beside_the_files_is_no_index(pick, tmp_path):
    for name in ("README.md", "dataset_infos.json", ".pulled.json", "LICENSE.txt", "sha256sums.txt", "pickapic_v2.py"):
        (pick / name).write_text("x")
    assert run(pick, tmp_path / "out")["layout"] == "pickapic"
