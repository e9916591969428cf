"""`dedpo submit` and the plain `kfp run create`, against a stand-in of Kubeflow's API on loopback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dedpo.errors import UserError
from dedpo.kubeflow import submit
from dedpo.world.serve import listening
from tests.pipelines.kfp_server import Cluster

REPOSITORY = Path(__file__).parent.parent.parent
PACKAGE = REPOSITORY / "pipelines" / "dedpo.yaml"
# The oracle's metrics need an endpoint, which nobody has who has no embedded world.
SETTINGS = '{"score.metrics": ["pickscore"], "report.metric": "pickscore"}'
SENT = {"source": "s3://bucket/pairs", "annotator_url": "http://vllm:8000/v1", "overrides": SETTINGS}
REQUIRED = [f"{name}={value}" for name, value in SENT.items()]
OTHERS = REQUIRED[:2]
POOL = '{"selector": {"pool": "a100"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}'


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("dedpo")


@pytest.fixture
def endpoint(cluster: Cluster) -> Iterator[str]:
    with listening(cluster.app()) as url:
        yield url


def _run(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KF_")} | {"HOME": str(home)} | variables
    program = str(Path(sys.executable).parent / command[0])
    return subprocess.run(
        [program, *command[1:]],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _dedpo(
    home: Path, endpoint: str, *parameters: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    given = [part for p in parameters for part in ("--set-param", p)]
    return _run(home, "dedpo", "submit", "pipelines/dedpo.yaml", "--endpoint", endpoint, *options, *given)


def test_dedpo_submit_arrives_with_its_parameters(cluster: Cluster, endpoint: str, tmp_path: Path) -> None:
    more = [
        "seed=3",
        'arms=["dpo_human", "dedpo_tuned"]',
        "baselines=false",
        "revision=7",
        "gpus=4",
        f"gpu_pool={POOL}",
    ]
    done = _dedpo(tmp_path, endpoint, *REQUIRED, *more, options=("--service-account", "dedpo"))
    assert done.returncode == 0, done.stderr
    assert f"{endpoint}/#/runs/details/run-0" in done.stdout
    (run,) = cluster.runs
    assert run["experiment_id"] == "experiment-0"
    assert run["service_account"] == "dedpo"
    assert run["runtime_config"]["parameters"] == SENT | {
        "seed": 3,
        "arms": ["dpo_human", "dedpo_tuned"],
        "baselines": False,
        "revision": "7",
        "gpus": 4,
        "gpu_pool": json.loads(POOL),
    }
    assert {"pipeline_spec", "platform_spec"} <= run["pipeline_spec"].keys(), "secrets and security come along"


@pytest.mark.parametrize("verb", ["submit", "create"])
def test_the_plain_kfp_command_arrives_too(verb: str, cluster: Cluster, endpoint: str, tmp_path: Path) -> None:
    """By its old name, too, which the documents of many clusters use.

    It decodes whatever is JSON (kfp/cli/utils/parsing.py), so that a JSON text must be quoted once more.
    """
    command = ["kfp", "run", verb, "-e", "dedpo", "-f", "pipelines/dedpo.yaml", *OTHERS]
    more = ["seed=3", "baselines=false", f"gpu_pool={POOL}", f"overrides={json.dumps(SETTINGS)}"]
    done = _run(tmp_path, *command, *more, KF_PIPELINES_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    (run,) = cluster.runs
    sent = SENT | {"seed": 3, "baselines": False, "gpu_pool": json.loads(POOL)}
    assert run["runtime_config"]["parameters"] == sent


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["sead=3"], "not required by pipeline: sead"),
        (["overrides={}"], "input parameter overrides requires type string"),
    ],
)
def test_the_plain_kfp_command_is_refused_by_the_cluster(
    given: list[str], message: str, cluster: Cluster, endpoint: str, tmp_path: Path
) -> None:
    command = ["kfp", "run", "create", "-e", "dedpo", "-f", "pipelines/dedpo.yaml", *OTHERS, *given]
    done = _run(tmp_path, *command, KF_PIPELINES_ENDPOINT=endpoint)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert not cluster.runs


def test_the_two_commands_of_the_readme_do_the_same(cluster: Cluster, endpoint: str, tmp_path: Path) -> None:
    lines = (REPOSITORY / "README.md").read_text().replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith(("dedpo submit ", "kfp run create "))]
    assert len(commands) == 2
    for command in commands:
        done = _run(tmp_path, *shlex.split(command), KF_PIPELINES_ENDPOINT=endpoint)
        assert done.returncode == 0, done.stderr
    first, second = (run["runtime_config"]["parameters"] for run in cluster.runs)
    assert first == second


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([*REQUIRED, "sead=3"], "has no parameter 'sead'; did you mean 'seed'?"),
        ([*REQUIRED, "zzz=3"], "has no parameter 'zzz'; known: "),
        ([*REQUIRED, "seed=3.5"], "seed=3.5: expected a whole number"),
        ([*REQUIRED, "seed=true"], "seed=true: expected a whole number"),
        ([*REQUIRED, "arms=dedpo"], "arms=dedpo: expected a list"),
        ([*REQUIRED, "baselines=1"], "baselines=1: expected true or false"),
        ([*REQUIRED, "gpu_pool=a100"], "gpu_pool=a100: expected an object"),
        ([*REQUIRED, 'gpu_pool={"pool": "a100"}'], "gpu_pool"),
        ([*OTHERS, "overrides=[1]"], "overrides: "),
        ([*OTHERS, 'overrides={"train.stepz": 3}'], "unknown key 'train.stepz'; did you mean 'steps'?"),
        ([*OTHERS, 'overrides={"train.base": "x"}'], "train.base"),
        ([*REQUIRED, 'arms=["dpo_humane"]'], "dpo_humane"),
        ([*REQUIRED, "primary=sft"], "primary 'sft' is not among the arms"),
        ([*REQUIRED, "prompts=../prompts.txt"], "prompts: '../prompts.txt': name a text file inside the source"),
        (["source=ftp://host/pairs", *REQUIRED[1:]], "unknown scheme 'ftp'"),
        ([REQUIRED[0], REQUIRED[2], "gpus=0"], "annotator_url: empty, so that vLLM runs in the label pods"),
        ([*REQUIRED, "seed"], "write it as name=value"),
        ([*REQUIRED, "seed=1", "seed=2"], "'seed' is given twice"),
        (REQUIRED[1:], "missing source .*The pairs"),
    ],
)
def test_wrong_parameters_are_named(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        submit.arguments(PACKAGE, given)
    assert "\n" not in str(caught.value)


def test_nothing_is_sent_when_a_parameter_is_wrong(cluster: Cluster, endpoint: str, tmp_path: Path) -> None:
    done = _dedpo(tmp_path, endpoint, *REQUIRED, "sead=3")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: --set-param sead=3: pipelines/dedpo.yaml has no parameter 'sead'; did you mean 'seed'?"
    ]
    assert not cluster.calls


def test_a_dry_run_sends_nothing_and_needs_no_endpoint(tmp_path: Path) -> None:
    done = _dedpo(tmp_path, "http://127.0.0.1:9", *REQUIRED, "seed=2.0", options=("--dry-run",))
    assert done.returncode == 0, done.stderr
    assert '"seed": 2' in done.stdout


@pytest.mark.parametrize(
    ("address", "message"),
    [("http://127.0.0.1:9", "Connection refused; start a port-forward"), ("cluster", "not an http(s) address")],
)
def test_an_endpoint_that_does_not_answer_is_one_line(address: str, message: str, tmp_path: Path) -> None:
    done = _dedpo(tmp_path, address, *REQUIRED)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_login_page_is_no_api(tmp_path: Path) -> None:
    page = Starlette(routes=[Route("/{path:path}", lambda _: HTMLResponse("<html>Log in</html>"))])
    with listening(page) as url:
        done = _dedpo(tmp_path, url, *REQUIRED)
    assert done.returncode == 2
    assert "a page and no API answers there, perhaps a login" in done.stderr


@pytest.mark.parametrize(
    ("status", "message"), [(401, "it wants a login"), (503, "it is busy or starts"), (404, "API?")]
)
def test_a_refusal_of_the_api_says_what_to_do(status: int, message: str) -> None:
    refusing = Starlette(routes=[Route("/{path:path}", lambda _: Response("no", status))])
    with listening(refusing) as url, pytest.raises(UserError, match=f"answers {status} .*{message}"):
        _submitted(url, "dedpo")


def _submitted(endpoint: str, experiment: str) -> submit.Run:
    return submit.submit(PACKAGE, SENT, name="dedpo", endpoint=endpoint, experiment=experiment, service_account=None)


def test_an_experiment_is_made_where_it_is_missing_and_once(cluster: Cluster, endpoint: str) -> None:
    first, second = _submitted(endpoint, "other"), _submitted(endpoint, "other")
    assert first.run_id != second.run_id
    assert cluster.experiments == {"dedpo": "experiment-0", "other": "experiment-1"}
    assert [run["experiment_id"] for run in cluster.runs] == ["experiment-1"] * 2
    assert cluster.calls.count("create experiment") == 1


def test_an_experiment_that_somebody_else_makes_meanwhile_is_used(
    cluster: Cluster, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Cluster._list

    async def late(self: Cluster, request: Request) -> Response:
        found = await listed(self, request)
        self.experiments.setdefault("other", "experiment-7")
        return found

    monkeypatch.setattr(Cluster, "_list", late)
    with listening(cluster.app()) as url:
        _submitted(url, "other")
    assert [run["experiment_id"] for run in cluster.runs] == ["experiment-7"]


@pytest.mark.parametrize(
    "given",
    [["secret="], ["image="], ["train_image=https://registry/x"], ["label_image=Dedpo"], ["base="], ["source="]],
)
def test_names_that_no_cluster_takes_are_refused_before_anything_is_sent(given: list[str]) -> None:
    kept = [item for item in REQUIRED if item.partition("=")[0] != given[0].partition("=")[0]]
    with pytest.raises(UserError, match=given[0].partition("=")[0]):
        submit.arguments(PACKAGE, [*kept, *given])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("a: [", "not valid YAML"),
        ("a: 1", "no compiled pipeline"),
        ("", "no compiled pipeline"),
    ],
)
def test_what_is_no_compiled_pipeline_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    package = tmp_path / "pipeline.yaml"
    if content is not None:
        package.write_text(content)
    with pytest.raises(UserError, match=message):
        submit.arguments(package, [])
