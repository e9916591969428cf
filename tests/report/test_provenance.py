import pytest

from dedpo.contract.records.labels import Labels
from dedpo.report.costs import costs, total
from dedpo.report.provenance import provenance
from tests.records import record

PULLED = {"repo": "https://host/<b>team</b>/data", "revision": "v1", "commit": "c" * 40, "path": "pairs"}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"revision": PULLED}, "https://host/<b>team</b>/data@v1:pairs, commit cccccccccccc"),
        ({"revision": PULLED | {"changed": True}}, "commit cccccccccccc; files were added or changed there since"),
        ({"revision": None, "outputs": {"a": "b"}}, " of the imported files"),
        ({"outputs": {"a": "b"}}, " of the imported files"),
    ],
)
def test_the_data_revision_is_what_was_pulled_else_a_digest(manifest, words):
    found = provenance({"data": {"stage": "data"} | manifest}).revision
    assert found is not None
    assert found.endswith(words)


def test_without_data_there_is_no_revision():
    assert provenance({"scores": {"stage": "score", "revision": PULLED}}).revision is None


def test_a_clone_says_that_times_and_commits_are_not_recorded_there():
    made = {"label": {"stage": "label", "seconds": 2.0, "git_commit": None}, "data": {"stage": "data"}}
    found = provenance({"data": made["data"], "labels": made["label"]})
    assert found.commits == ["not recorded here", "outside git"]
    assert [(d.stage, d.seconds) for d in found.durations] == [("data", None), ("label", 2.0)]
    rows = costs(found.durations, record(Labels, requests=3), None)
    assert (rows[1].requests, total(rows).seconds, total(rows[:1]).seconds) == (3, 2.0, None)
