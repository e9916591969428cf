"""The command: help that is light, exit codes, settings shown and written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dedpo.cli import _told
from dedpo.errors import UserError

REPOSITORY = Path(__file__).parents[2]
COMMANDS = [
    "data", "label", "bias", "dashboard", "gate", "promote", "plan", "targets", "train", "sample",
    "score", "judge", "report", "world", "submit", "config", "doctor",
]  # fmt: skip


def _run(*arguments: str, cwd: Path = REPOSITORY, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dedpo", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert "Exit codes: 0 done, 1 our fault, 2 something for you to put right" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "name",
    [
        *COMMANDS,
        "data import",
        "data split",
        "data features",
        "data select",
        "data merge",
        "data ratings",
        "world build",
        "world build-clip",
        "world pairs",
        "world serve",
    ],
)
def test_every_command_explains_itself(name: str) -> None:
    done = _run(*name.split(), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_a_terminal_without_the_letters_is_shown_something_else() -> None:
    done = _run("config", "--set", "label.model=mödel", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "m\\xf6del" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nsys.argv = ['dedpo', '--help']\nfrom dedpo.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'pydantic', 'yaml', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "--config", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["label", "--set", "label.modle=x"], "unknown key 'label.modle'; did you mean 'model'?"),
        (["label", "--set", "label"], "write it as section.key=value"),
        (["train", "--arm", "ppo"], "--arm ppo: not among the arms"),
        (["data", "import", "/nowhere"], "/nowhere"),
        (["data", "select", "--round", "../up"], "--round '../up': use up to 64 letters"),
        (["data", "merge", "nowhere.json"], "nowhere.json: No such file or directory; name a JSON export"),
    ],
)
def test_user_errors_are_one_line_and_exit_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = _run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_an_unknown_option_exits_2() -> None:
    assert _run("label", "--nope").returncode == 2


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(36, "File name too long", "a\nb"), "error: a b: File name too long; name another"),
        (
            PermissionError(13, "Permission denied", "/proc/1/mem"),
            "error: /proc/1/mem: Permission denied; name another",
        ),
        (OSError(28, "No space left on device"), "error: the disk: No space left on device; make room"),
        (UserError("two\nlines"), "error: two lines"),
    ],
)
def test_a_file_that_cannot_be_opened_is_the_users_in_one_line(error: Exception, line: str) -> None:
    assert _told(error)[0] == 2
    assert _told(error)[1].startswith(line)
    assert _told(OSError("no name"))[0] == 1


def test_our_fault_exits_1_and_verbose_shows_where(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom dedpo.contract import config\nimport dedpo.cli as cli\n"
        "def broken(*a): raise RuntimeError('boom')\nconfig.load = broken\n"
        "sys.argv = ['dedpo', 'label', *sys.argv[1:]]\ncli.main()"
    )
    for flags, traceback in (([], False), (["-v"], True)):
        command = [sys.executable, "-c", script, *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert "internal error: RuntimeError: boom" in done.stderr
        assert ("Traceback" in done.stderr) == traceback


def test_config_shows_each_key_with_its_meaning() -> None:
    done = _run("config", "--set", "train.beta=2000", env={"COLUMNS": "200", "PATH": ""})
    assert done.returncode == 0
    line = next(text for text in done.stdout.splitlines() if "train.beta" in text)
    assert "2000" in line
    assert "logit" in line


def test_config_writes_and_keeps_the_comments(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text((REPOSITORY / "params.yaml").read_text())
    done = _run("config", "--set", "seeds=[0,1,2]", "--set", "train.beta=7", "--write", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = (REPOSITORY / "params.yaml").read_text().splitlines()
    after = params.read_text().splitlines()
    changed = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert [a.split("#")[0].split() for _, a in changed] == [["seeds:", "[0,", "1,", "2]"], ["beta:", "7"]]
    assert _run("config", "--set", "train.betta=7", "--write", cwd=tmp_path).returncode == 2


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    environment = {"COLUMNS": "200", "PATH": "", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "s3cret"}
    environment |= {"GEMINI_BASE_URL": "http://127.0.0.1:9", "GEMINI_API_KEY": "s3cret"}
    done = _run("doctor", cwd=tmp_path, env=environment)
    assert done.returncode == 0
    for word in ("python", "memory", "disk", "torch", "GPU", "extra 'train'"):
        assert word in done.stdout
    assert "http://127.0.0.1:9/v1: " in done.stdout, "an endpoint that does not answer is named"
    assert "http://127.0.0.1:9: " in done.stdout
    assert re.search(r"ok .*\$GEMINI_API_KEY .* set", done.stdout)
    assert "s3cret" not in done.stdout


def test_stages_read_the_joined_ratings_where_there_are_some(tmp_path: Path) -> None:
    from dedpo.cli.layout import Layout

    assert Layout(tmp_path).ratings == tmp_path / "data" / "ratings.parquet"
    (tmp_path / "ratings").mkdir()
    assert Layout(tmp_path).ratings == tmp_path / "ratings" / "ratings.parquet"
    assert Layout(tmp_path).rated == tmp_path / "ratings" / "rated.parquet"


def test_only_commands_with_settings_read_the_params_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {stepz: 1}\n")
    assert "did you mean 'steps'?" in _run("data", "stats", cwd=tmp_path).stderr
    done = _run("data", "ratings", cwd=tmp_path)
    assert "params.yaml" not in done.stderr
    assert "data/ratings.parquet" in done.stderr
