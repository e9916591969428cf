"""The compiled YAML, walked as Kubeflow's backend would walk it: every way through it ends where it should, and the
exit task tells the truth."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from dedpo.kubeflow import gpus, notify
from dedpo.kubeflow.parameters import Request
from pipelines import dedpo
from tests.pipelines.driver import Call, Cluster, Ending, PodGone, TaskFailed

ARMS = ["dpo_human", "dedpo_tuned"]
LABELLING = {
    "given": {"labels": "s3://bought/labels"},
    "endpoint": {"annotator_url": "http://annotator:8000/v1"},
    "server": {},
}
JUDGES = {"a judge": {"judge": "gemini-2.5-flash"}, "no judge": {}}
EVERY_TIME = {"doctor", "finish", "notify"}
ALL = {
    "doctor", "fetch", "labels-given", "import-pairs", "prepare", "label", "merge-labels", "bias", "gate", "targets",
    "train", "sample", "score", "judge", "report", "promote", "finish", "notify",
}  # fmt: skip
AFTER_TRAINING = {"sample", "score", "judge", "report", "promote"}
Fault = Callable[[Call], None]


class Work:
    """What the tasks' containers would do; finish and notify are the real ones."""

    def __init__(self, fault: Fault = lambda _: None) -> None:
        self.fault = fault
        self.told = ""

    def __call__(self, call: Call) -> dict[str, Any]:
        self.fault(call)
        given = call.parameters
        made = {
            "doctor": _plan, "fetch": lambda p: {"Output": p["source"]},
            "labels-given": lambda p: {"Output": p["labels"] or "uri of note"},
            "import-pairs": lambda _: {"shards": [["a", "b"], ["c"]]}, "promote": lambda _: {"Output": True},
        }.get(call.component)  # fmt: skip
        if call.component == "finish":
            notify.finish(given["run_id"], primary=given["primary"], promoted=given["promoted"])
        if call.component == "notify":
            status = given["status"]
            self.told = notify.run(
                run=status["pipelineJobResourceName"], run_id=given["run_id"], state=status["state"], message=None
            )
        return made(given) if made else {}


def _plan(given: Any) -> dict[str, Any]:
    """As preflight.check, without endpoints."""
    asked = Request.of(given)
    assert asked is not None
    labelling = asked.labelling
    label, training = gpus.labelling(serves=labelling == "server", looks=False), gpus.training(int(given["gpus"]))
    settings = json.loads(given["overrides"])
    stages = ("data", "label", "bias", "gate", "targets", "train", "sample", "score", "judge", "report", "promote")
    sections = {s: json.dumps({k: v for k, v in settings.items() if k.startswith(f"{s}.")}) for s in stages}
    sections["label"] = json.dumps([given["annotator_url"], sections["label"]])
    sections["judge"] = json.dumps({"model": given["judge"] or None})
    return sections | {
        "origin": "folder", "commit": given["revision"], "arms": given["arms"], "max_pixels": 1, "labelling": labelling,
        "label_image": given["label_image" if labelling == "server" else "image"], "label_gpus": label.gpus,
        "label_cpus": label.cpus, "label_memory": label.memory, "label_selector": {}, "label_tolerations": [],
        "gpus": training.gpus, "one_gpu": "1", "cpus": training.cpus, "memory": training.memory,
        "accelerator": "nvidia.com/gpu", "node_selector": {"pool": "gpu"}, "tolerations": [],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DEDPO_WEBHOOK_URL", "DEDPO_KUBEFLOW_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEDPO_CACHE", str(tmp_path))
    return tmp_path


RUN = "5e4f0c9e-run-{}"


def _go(cluster: Cluster, number: int, work: Work | None = None, **parameters: Any) -> tuple[Ending, str]:
    """One run, and what the exit task has told."""
    work = work or Work()
    given = {"source": "s3://bucket/pairs", "arms": ARMS} | parameters
    ending = cluster.run(dedpo.YAML, given, work, RUN.format(number))
    return ending, work.told


def _check_success(ending: Ending, told: str) -> None:
    assert ending.error is None
    assert ending.succeeded
    assert told.startswith("dedpo: dedpo-x7f2k succeeded; dedpo_tuned is promoted; ")


WAYS = list(product(LABELLING, JUDGES))


@pytest.mark.parametrize(("labelling", "judge"), WAYS)
def test_a_first_run_and_a_second_that_finds_everything_in_the_cache(labelling: str, judge: str) -> None:
    cluster, given = Cluster(), LABELLING[labelling] | JUDGES[judge]
    first, told = _go(cluster, 1, **given)
    _check_success(first, told)
    assert first.names() == ALL
    assert len([c for c in first.called if c.component == "label"]) == 2, "a task for each list of shards"
    second, told = _go(cluster, 2, **given)
    _check_success(second, told)
    assert second.names() == EVERY_TIME
    assert second.state == "RUNNING", "Kubeflow's own word, which tells nothing of success"
    assert told.endswith(RUN.format(2))


@pytest.mark.parametrize(("labelling", "judge"), WAYS)
def test_a_changed_training_setting_repeats_what_comes_after_it(labelling: str, judge: str) -> None:
    cluster, given = Cluster(), LABELLING[labelling] | JUDGES[judge]
    _go(cluster, 1, **given)
    ending, told = _go(cluster, 2, overrides='{"train.beta": 2000}', **given)
    _check_success(ending, told)
    assert ending.names() == {*EVERY_TIME, "train", *AFTER_TRAINING}
    trained = [c.parameters["arm"] for c in ending.called if c.component == "train"]
    assert trained == ARMS
    (sampled,) = [c for c in ending.called if c.component == "sample"]
    assert len(sampled.artifacts["policies"]) == 2


def test_one_cluster_sees_every_way_after_every_other() -> None:
    cluster = Cluster()
    for number, (labelling, judge) in enumerate([*WAYS, *reversed(WAYS)]):
        _check_success(*_go(cluster, number, **LABELLING[labelling], **JUDGES[judge]))


@pytest.mark.parametrize("labelling", LABELLING)
def test_a_label_task_gets_what_its_way_needs(labelling: str) -> None:
    ending, _ = _go(Cluster(), 1, **LABELLING[labelling], image="cpu:1", label_image="vllm:1")
    asked = next(c.parameters for c in ending.called if c.component == "label")
    found = {key.rpartition("--")[2]: value for key, value in asked.items()}
    serves = labelling == "server"
    assert (found["image"], found["gpus"], found["memory"]) == (
        ("vllm:1", "1", "24Gi") if serves else ("cpu:1", "0", "1Gi")
    )
    (merged,) = [c for c in ending.called if c.component == "merge-labels"]
    assert merged.parameters["labelling"] == labelling
    (folder,) = merged.artifacts["given"]
    assert (folder["uri"] == "s3://bought/labels") == (labelling == "given")


@pytest.mark.parametrize("judge", JUDGES)
def test_a_gate_that_fails_ends_the_run_before_anything_is_trained(judge: str) -> None:
    def strict(call: Call) -> None:
        if call.component == "gate":
            raise TaskFailed("gate.min_agreement")

    cluster = Cluster()
    ending, told = _go(cluster, 1, Work(strict), **JUDGES[judge])
    assert not ending.succeeded
    assert ending.error is not None
    assert "gate.min_agreement" in ending.error
    assert not ending.names() & {"targets", "train", "finish"}
    assert told.startswith("dedpo: dedpo-x7f2k did not come to its end; ")
    assert "FAILED" in told
    again, told = _go(cluster, 2, overrides='{"gate.min_agreement": null}', **JUDGES[judge])
    _check_success(again, told)
    assert not again.names() & {"label", "bias", "import-pairs"}


@pytest.mark.parametrize("component", sorted(ALL - {"notify"}))
@pytest.mark.parametrize("how", [TaskFailed, PodGone])
def test_whatever_fails_is_told_and_a_new_run_goes_on_from_there(component: str, how: type[Exception]) -> None:
    """A container that fails, or whose pod is killed with the launcher that would have told the store."""

    def fail(call: Call) -> None:
        if call.component == component:
            raise how

    cluster = Cluster()
    ending, told = _go(cluster, 1, Work(fail), judge="gemini-2.5-flash")
    assert not ending.succeeded
    assert "did not come to its end" in told
    assert ending.state == ("FAILED" if how is TaskFailed else "RUNNING")
    _check_success(*_go(cluster, 2, judge="gemini-2.5-flash"))


@pytest.mark.parametrize("component", ["fetch", "label", "train", "sample", "score", "judge"])
def test_a_try_that_fails_and_is_repeated_with_success_is_a_success(component: str) -> None:
    def once(call: Call) -> None:
        if call.component == component and call.attempt == 0:
            raise TaskFailed("for the moment")

    ending, told = _go(Cluster(), 1, Work(once), judge="gemini-2.5-flash")
    _check_success(ending, told)
    assert ending.state == "FAILED", "which stays, and tells nothing"


def test_an_empty_secret_starts_nothing_not_even_the_exit_task() -> None:
    """So `dedpo submit` refuses it; the kfp command cannot."""
    ending, told = _go(Cluster(), 1, secret="")
    assert not ending.succeeded
    assert (ending.names(), told) == ({"labels-given"}, "")
    assert "Expected a non-empty string" in str(ending.error)


@dsl.component(base_image="none")
def say(text: str) -> str:
    return text


@dsl.component(base_image="none")
def count(texts: list[str]) -> str:
    return str(len(texts))


@dsl.pipeline(name="alternatives")
def alternatives(word: str):
    with dsl.If(word == "a", name="first"):
        first = say(text="a")
    with dsl.Else(name="second"):
        second = say(text="b")
    say(text=dsl.OneOf(first.output, second.output))


@dsl.pipeline(name="round")
def rounds(words: list[str]):
    with dsl.ParallelFor(words) as word:
        said = say(text=word)
    count(texts=dsl.Collected(said.output))


def _compiled(pipeline: Any, folder: Path) -> Path:
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return folder / "pipeline.yaml"


def _say(call: Call) -> dict[str, Any]:
    return {"Output": str(call.parameters)}


def test_the_walk_knows_what_alternatives_do_when_a_task_comes_from_the_cache(tmp_path: Path) -> None:
    """So none is in our pipeline (test_compile.py); an earlier one of ours ended so at every second run."""
    path, cluster = _compiled(alternatives, tmp_path), Cluster()
    assert cluster.run(path, {"word": "b"}, _say, "1").succeeded
    second = cluster.run(path, {"word": "b"}, _say, "2")
    assert not second.succeeded
    assert "processing OneOf: No successful task found" in str(second.error)


def test_the_walk_knows_that_an_empty_loop_has_nothing_to_collect(tmp_path: Path) -> None:
    path = _compiled(rounds, tmp_path)
    assert Cluster().run(path, {"words": ["a", "b"]}, _say, "1").succeeded
    empty = Cluster().run(path, {"words": []}, _say, "1")
    assert not empty.succeeded
    assert "not in tasks" in str(empty.error)
