from contextlib import closing

from dedpo.data.importing.checked_images import CheckedImages
from dedpo.data.importing.distinct_pairs import CheckedImage

GOOD = CheckedImage("ab" * 32, 7)


def test_a_torn_line_is_cut_off_and_what_follows_is_kept(tmp_path):
    path = tmp_path / "checked"
    with closing(CheckedImages(path)) as store:
        store.add("a", (7, 1), GOOD)
    path.write_bytes(path.read_bytes() + b'["b", 7, 1, "ab')
    with closing(CheckedImages(path)) as store:
        store.add("c", (7, 1), GOOD)
    with closing(CheckedImages(path)) as store:
        assert [store.get(key, (7, 1)) for key in "abc"] == [GOOD, None, GOOD]
        assert store.get("a", (7, 2)) is None
        assert store.get("a", (8, 1)) is None


def test_what_was_forgotten_stays_forgotten(tmp_path):
    with closing(CheckedImages(tmp_path / "checked")) as store:
        store.add("a", (7, 1), GOOD)
        store.flush()
        store.add("b", (7, 1), GOOD)
        store.forget()
    with closing(CheckedImages(tmp_path / "checked")) as store:
        assert store.get("a", (7, 1)) is store.get("b", (7, 1)) is None


def test_a_line_of_something_else_is_skipped(tmp_path):
    (tmp_path / "checked").write_bytes(b'[1]\n{"a": 1}\n7\n\xff\n["a", 7, 1, "%s", 7]\n' % GOOD.sha256.encode())
    with closing(CheckedImages(tmp_path / "checked")) as store:
        assert store.get("a", (7, 1)) == GOOD
