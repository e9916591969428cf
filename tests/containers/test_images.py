"""Every target is built and looked into: who runs, what is in it and what is not, what it can do with so little."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dedpo.contract.sections import BiasConfig
from tests.containers.engine import Engine
from tests.containers.images import REPOSITORY, RESTRICTED, build, inspected, ran

TARGETS = ["runtime", "train", "label", "dashboard"]
STATED = {
    target: float(size)
    for target, size in re.findall(
        r"^#\s+(\w+)\s+([\d.]+) GB", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE
    )
}
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module", params=TARGETS)
def image(request: pytest.FixtureRequest, engine: Engine, pip_settings: Path) -> str:
    return build(engine, pip_settings, request.param)


@pytest.fixture(scope="module")
def runtime(engine: Engine, pip_settings: Path) -> str:
    return build(engine, pip_settings, "runtime")


@pytest.fixture(scope="module")
def dashboard(engine: Engine, pip_settings: Path) -> str:
    return build(engine, pip_settings, "dashboard")


def test_its_facts(engine: Engine, image: str) -> None:
    settings = inspected(engine, image)["Config"]
    assert settings["User"] == "10001:10001"
    assert settings["Labels"]["org.opencontainers.image.title"] == image.split(":")[0]
    assert settings["Labels"]["org.opencontainers.image.revision"] == "tested"
    assert ("Healthcheck" in settings) == (image == "dedpo-dashboard:test"), "only a server has one"
    names = {variable.split("=")[0] for variable in settings["Env"]}
    assert not {name for name in names if name.startswith(("PIP_", "DEDPO_CACHE", "TORCH_"))}
    # What only the build may know: where its packages came from.
    told = engine("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    assert "no-index" not in told
    assert "127.0.0.1:8080" in told or "127.0.0.1" not in told


def test_its_user_tools_and_root(engine: Engine, image: str) -> None:
    script = """
      id -u; python -c 'import getpass; print(getpass.getuser())'
      for tool in pip pip3 gcc cc g++ make; do command -v $tool; done
      python -m pip --version 2>&1; ls /var/lib/apt/lists /etc/pip.conf /source 2>&1
      touch /app/written /opt/dedpo/written 2>&1; touch /tmp/written && echo '/tmp is written'
      dedpo --help | grep -c dedpo
    """
    told = ran(engine, image, script).splitlines()
    assert told[:2] == ["10001", "dedpo"]
    # vLLM compiles kernels as it runs: its image keeps its tools; here, its stand-in's pip.
    tools = [line for line in told if re.fullmatch(r"/\S+/(pip3?|gcc|cc|g\+\+|make)", line)]
    assert tools == [] or image == "dedpo-label:test"
    text = "\n".join(told)
    assert "No module named pip" in text
    assert "/etc/pip.conf" not in text.replace("cannot access '/etc/pip.conf'", "")
    assert text.count("Read-only file system") == 2
    assert "/tmp is written" in text
    assert int(told[-1]) >= 1


def test_nothing_of_it_is_the_users_to_change(engine: Engine, image: str) -> None:
    """Also where the root is not read-only, a stage cannot change the code that the next one runs."""
    written = engine(
        "run", "--rm", "--network", "none", image, "find", "/opt/dedpo", "/app", "-writable", "-not", "-type", "l"
    ).stdout
    assert written == ""


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        (
            "runtime",
            "torch, diffusers, transformers, kfp, kfp.kubernetes, dvc.api, dvc_s3, evidently, datasets, openai",
        ),
        ("train", "torch, diffusers, transformers, accelerate, peft, kfp, datasets"),
        ("label", "openai, kfp, pyarrow"),
        ("dashboard", "evidently.ui, pandas"),
    ],
)
def test_its_packages(engine: Engine, pip_settings: Path, target: str, modules: str) -> None:
    tag = build(engine, pip_settings, target)
    script = f"import dedpo, {modules}; print(dedpo.__version__, dedpo.__file__)"
    version, place = ran(engine, tag, f"python -W ignore -c '{script}'").split()
    assert (version, place) == ("0.1.0", "/opt/dedpo/lib/python3.11/site-packages/dedpo/__init__.py")


def test_vllm_keeps_its_own_python(engine: Engine, pip_settings: Path) -> None:
    """The stand-in is not vLLM's image, not in reach here; the two environments stay apart all the same."""
    tag = build(engine, pip_settings, "label")
    told = ran(
        engine, tag, "$DEDPO_VLLM_PYTHON -c 'import sys; print(sys.prefix)'; python -c 'import sys; print(sys.prefix)'"
    )
    assert told.split() == ["/usr", "/opt/dedpo"]


def test_the_sizes_are_as_the_recipe_says(engine: Engine, runtime: str, dashboard: str) -> None:
    measured = {"runtime": runtime, "dashboard": dashboard}
    for target, tag in measured.items():
        gigabytes = inspected(engine, tag)["Size"] / 1e9
        print(f"{target}: {gigabytes:.2f} GB")
        assert gigabytes == pytest.approx(STATED[target], rel=0.1)


def test_a_changed_line_of_ours_is_a_small_layer(engine: Engine, runtime: str) -> None:
    sizes = engine("history", "--format", "{{.Size}} {{.CreatedBy}}", runtime).stdout.splitlines()
    (ours,) = [line.split()[0] for line in sizes if "COPY /overlay" in line]
    assert re.fullmatch(r"[\d.]+MB", ours)
    assert float(ours[:-2]) < 10


@contextlib.contextmanager
def started(engine: Engine, *words: str) -> Iterator[str]:
    name = engine("run", "--detach", *RESTRICTED, *words).stdout.strip()
    try:
        yield name
    finally:
        engine("rm", "--force", name)


def test_the_world_is_served_beyond_loopback(engine: Engine, runtime: str) -> None:
    command = ["dedpo", "world", "serve", "--host", "0.0.0.0"]
    with started(engine, "--network", "host", runtime, *command) as name:
        address = _told(engine, name, r"http://127\.0\.0\.1:(\d+)")
        assert httpx.get(f"http://127.0.0.2:{address}/health").json() == {"status": "ok"}
        begun = time.monotonic()
        engine("stop", name)
        assert time.monotonic() - begun < 8, "SIGTERM alone ends it"
        assert json.loads(engine("inspect", name).stdout)[0]["State"]["ExitCode"] == 0


def _told(engine: Engine, name: str, pattern: str) -> str:
    """The first group of a pattern in a container's output, waited for."""
    for _ in range(120):
        done = engine("logs", name)
        found = re.search(pattern, done.stdout)
        if found:
            return found.group(1)
        time.sleep(0.5)
    pytest.fail(f"the container did not tell {pattern}: {done.stdout}{done.stderr}")


def test_data_is_pulled_by_its_version(engine: Engine, runtime: str, tmp_path: Path) -> None:
    """git, DVC and all that they keep on the side work for this user with this root."""
    place = _versioned(tmp_path)
    pull = f"dedpo data pull {place}/repo@v1:data --out /tmp/data && cat /tmp/data/a.txt"
    told = ran(engine, runtime, pull, "--volume", f"{place}:{place}:ro")
    assert "revision: v1" in told
    assert told.endswith("first\n")


def _versioned(place: Path) -> Path:
    """A git repository with a folder that DVC tracks, and its remote, the container user's."""
    place.chmod(0o755)
    repo = place / "repo"
    (repo / "data").mkdir(parents=True)
    (repo / "data/a.txt").write_text("first\n")
    dvc = [sys.executable, "-m", "dvc"]
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (
        ["git", "init", "-q"],
        [*dvc, "init", "-q"],
        [*dvc, "remote", "add", "-q", "-d", "there", str(place / "remote")],
        [*dvc, "add", "-q", "data"],
        [*dvc, "push", "-q"],
        ["git", "add", "-A"],
        ["git", *name, "commit", "-qm", "first"],
        ["git", "tag", "v1"],
    ):
        subprocess.run(command, cwd=repo, check=True)
    for path in (place, *place.rglob("*")):
        os.lchown(path, 10001, 10001)
    return place


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Evidently workspace with one run, as `dedpo bias` leaves it."""
    from dedpo.bias import stage

    folder = tmp_path_factory.mktemp("bias")
    table = folder / "table.csv"
    rows = (f"a photo {i % 7},{i % 2},{(i // 3) % 2}" for i in range(40))
    table.write_text("\n".join(["prompt,human,ai", *rows]) + "\n")
    config = BiasConfig(workspace=str(folder / "workspace"), permutations=100, bootstrap=100)
    stage.run_table(config, table=table, human="human", ai="ai", prompt="prompt", raters=[], out=folder / "bias")
    return folder / "workspace"


def test_the_dashboard_becomes_healthy_and_shows_the_runs(engine: Engine, dashboard: str, workspace: Path) -> None:
    options = ["--network", "none", "--volume", f"{workspace}:/workspace:ro"]
    with started(engine, *options, dashboard) as name:
        _until_healthy(engine, name)
        ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/api/projects').read().decode())"
        (project,) = json.loads(engine("exec", name, "python", "-c", ask).stdout)
        assert project["name"]
        begun = time.monotonic()
        engine("stop", name)
        assert time.monotonic() - begun < 8
        assert json.loads(engine("inspect", name).stdout)[0]["State"]["ExitCode"] == 0


def _until_healthy(engine: Engine, name: str) -> None:
    seen: set[str] = set()
    for _ in range(180):
        state = json.loads(engine("inspect", name).stdout)[0]["State"]
        seen.add(state["Health"]["Status"])
        if "healthy" in seen:
            assert "unhealthy" not in seen
            return
        assert state["Running"], engine("logs", name).stderr
        time.sleep(0.5)
    pytest.fail(f"not healthy after 90 s: {seen}")


def test_a_dashboard_without_runs_says_so_in_one_line(engine: Engine, dashboard: str) -> None:
    done = engine("run", "--rm", "--network", "none", *RESTRICTED, dashboard, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: /workspace: no Evidently workspace")
    assert len(done.stderr.strip().splitlines()) == 1
