"""The story that `make test-story` tells: which pairs, whose labels, which correction, which weights, at every moment.

Every step is the command that a person would type, in a temporary git + DVC repository with an S3-protocol server and
the embedded world's servers on loopback.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.s3_server import CREDENTIALS, Traffic, s3_server
from tests.story import place
from tests.story.people import answer
from tests.story.shell import File, Shell, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STAGES = set(yaml.safe_load((place.REPOSITORY / "dvc.yaml").read_text())["stages"]) - {"world"}
# All that rests on ratings.
LATER = STAGES - {"data", "ratings", "split", "features", "label"}


@pytest.fixture(scope="module")
def told() -> list[str]:
    """The steps that are through: each rests on those before it."""
    return []


@pytest.fixture(scope="module")
def s3() -> Iterator[Traffic]:
    with s3_server("bucket") as traffic:
        yield traffic


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def shell(home: Path, s3: Traffic) -> Iterator[Shell]:
    (home / "here").mkdir()
    own = {
        "HOME": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    with place.world() as exports:
        yield Shell(home / "here", exports | CREDENTIALS | own)


@pytest.fixture(autouse=True)
def in_order(request: pytest.FixtureRequest, told: list[str]) -> Iterator[None]:
    """A step whose predecessor failed says so at once."""
    tests = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    before = tests[: tests.index(request.node.name)]
    if before != told:
        pytest.fail(f"rests on '{next((b for b in before if b not in told), '?')}', which failed")
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        told.append(request.node.name)


def commit(shell: Shell, message: str) -> None:
    shell.run("git", "add", "-A")
    shell.run("git", "commit", "-q", "-m", message)
    shell.run("git", "tag", message)


def shards(shell: Shell) -> dict[str, File]:
    return {name: file for name, file in shell.files().items() if name.startswith("outputs/data/pairs/")}


def image_keys(shell: Shell) -> set[str]:
    """Where on the remote the user's images and the shards lie."""
    names = [*(shell.folder / "mine" / "images").iterdir(), *(shell.folder / "outputs/data/pairs").iterdir()]
    hashes = [hashlib.md5(path.read_bytes()).hexdigest() for path in names]
    return {f"/bucket/data/files/md5/{md5[:2]}/{md5[2:]}" for md5 in hashes}


def test_a_remote_is_named_once_and_holds_no_key(shell: Shell, s3: Traffic) -> None:
    place.settle(shell)
    place.bring_pairs(shell)
    shell.run("dvc", "remote", "add", "-d", "store", "s3://bucket/data")
    shell.run("dvc", "remote", "modify", "store", "endpointurl", s3.url)
    shell.run("dvc", "add", "mine")
    assert "loopback" not in (shell.folder / ".dvc" / "config").read_text()


def test_the_first_run_makes_everything(shell: Shell, s3: Traffic) -> None:
    assert stages_run(shell.run("dvc", "repro", kept=("mine/", "models/", "human/"))) == STAGES
    commit(shell, "v1")
    pushed = shell.run("dvc", "push", kept=("mine/", "outputs/", "human/"))
    assert "pushed" in pushed
    assert image_keys(shell) <= {path for path, _ in s3.put}


def test_a_second_run_does_nothing(shell: Shell) -> None:
    assert "up to date" in shell.run("dvc", "repro", kept=("mine/", "outputs/", "human/", "reports/"))


def test_a_clone_elsewhere_pulls_it_and_has_nothing_to_do(shell: Shell, home: Path) -> None:
    shell.run("git", "clone", "-q", str(shell.folder), str(home / "clone"))
    elsewhere = Shell(home / "clone", shell.environment)
    elsewhere.run("dvc", "pull")
    assert "up to date" in elsewhere.run("dvc", "repro", kept=("",))
    mine, theirs = shell.files(), elsewhere.files()
    assert _hashes(mine) == _hashes(theirs)


def _hashes(files: dict[str, File]) -> dict[str, str]:
    """Without DVC's cache, which a clone has its own part of, and what .dvcignore leaves where it was made."""
    own = (".dvc/cache/", "manifest.run.json")
    return {n: file.sha256 for n, file in files.items() if not (n.startswith(own[0]) or n.endswith(own[1]))}


def test_two_hundred_second_opinions_move_no_image(shell: Shell, s3: Traffic) -> None:
    wanted = ("--set", "select.design=again", "--set", "select.budget=100")
    shell.run("dedpo", "data", "select", "--round", "second", *wanted, kept=("mine/", "outputs/"))
    project = shell.folder / "human" / "rounds" / "second" / "label-studio"
    export = shell.folder.parent / "second.json"
    export.write_text(json.dumps(answer(project, ["anna@example.org", "ben@example.org"])))
    merged = shell.run("dedpo", "data", "merge", str(export), kept=("mine/", "outputs/", "models/"))
    assert "new_ratings: 200" in merged
    before = shards(shell)
    ran = stages_run(shell.run("dvc", "repro", kept=("mine/", "human/", "models/")))
    assert ran == {"ratings"} | LATER
    assert shards(shell) == before
    commit(shell, "v2")
    everything = s3.bytes_put
    s3.forget()
    shell.run("dvc", "push", "data", "ratings", kept=("mine/", "outputs/"))
    print(f"        {s3.bytes_put} bytes of data for 200 ratings, of {everything} pushed first")
    assert s3.bytes_put < 0.03 * everything
    shell.run("dvc", "push", kept=("mine/", "outputs/"))
    assert not image_keys(shell) & {path for path, _ in s3.put}


def test_the_metrics_differ_between_the_versions(shell: Shell) -> None:
    changed = json.loads(shell.run("dvc", "metrics", "diff", "--json", "v1", "v2"))
    assert "reports/metrics.json" in changed
    assert "human_oracle" in shell.run("dvc", "metrics", "show")


def test_a_round_of_new_pairs_reaches_the_split_and_not_the_labels(shell: Shell, s3: Traffic) -> None:
    shell.run("dedpo", "data", "select", "--round", "third", "--set", "select.budget=60", kept=("mine/", "outputs/"))
    project = shell.folder / "human" / "rounds" / "third" / "label-studio"
    export = shell.folder.parent / "third.json"
    export.write_text(json.dumps(answer(project, ["carl@example.org"])))
    shell.run("dedpo", "data", "merge", str(export), kept=("mine/", "outputs/"))
    before = shards(shell)
    ran = stages_run(shell.run("dvc", "repro", kept=("mine/", "human/", "outputs/labels/")))
    assert ran == {"ratings", "split", "features"} | LATER
    assert shards(shell) == before
    assert json.loads((shell.folder / "outputs/splits/0/summary.json").read_text())["labelled"] > 120
    commit(shell, "v3")
    shell.run("dvc", "push")


def test_the_pushed_revision_is_pulled_into_a_third_place_and_verified(shell: Shell, home: Path) -> None:
    third = Shell(home / "third", shell.environment)
    third.folder.mkdir()
    said = third.run("dedpo", "data", "pull", f"file://{shell.folder}@v1:outputs/data", "--out", "data")
    note = json.loads((third.folder / "data" / ".pulled.json").read_text())
    assert str(note["bytes"]) in said
    lock = yaml.safe_load(shell.run("git", "show", "v1:dvc.lock"))
    assert note["md5"] == next(o["md5"] for o in lock["stages"]["data"]["outs"] if o["path"] == "outputs/data")
    assert note["commit"] == shell.run("git", "rev-parse", "v1").strip()
    third.run("dedpo", "data", "import", "data", kept=("data/",))
    manifest = json.loads((third.folder / "outputs/data/manifest.json").read_text())
    assert manifest["revision"]["commit"] == note["commit"]


def test_the_policy_knows_what_it_was_made_from(shell: Shell) -> None:
    said = shell.run("dedpo", "trace", "outputs/policies/0/dedpo_tuned", kept=("",))
    for word in ("second", "third", "anna@example.org", "carl@example.org", "pairs.csv"):
        assert word in said, said


def test_an_experiment_is_one_command(shell: Shell) -> None:
    shell.run("dvc", "exp", "run", "-S", "train.beta=2000", "-n", "hotter", kept=("mine/", "human/"))
    table = shell.run("dvc", "exp", "show", "--csv")
    assert "hotter" in table
    assert "train.beta" in table
    assert "2000" in shell.run("dvc", "params", "diff")


def test_the_plots_hold_the_curves(shell: Shell) -> None:
    shell.run("dvc", "plots", "show", "-o", "plots")
    page = (shell.folder / "plots" / "index.html").read_text()
    assert "training.csv" in page
    assert "dedpo_tuned" in page
    assert os.path.getsize(shell.folder / "plots" / "index.html") > 3000
