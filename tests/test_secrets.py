"""Every command: a marked key and a marked password show nowhere, whichever argument or setting holds them."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer

from dedpo import redact
from dedpo.cli import app, main

KEY = "sk-MARKED0123456789-of-a-length-that-a-table-breaks-into-two-lines-because-it-is-too-narrow-for-it"
PASSWORD = "MARKED-p4ss"
MARK = "MARKED"
ADDRESS = f"me:{PASSWORD}@127.0.0.1:9/v1"
# What a command needs beside the argument that is tried, and what keeps it small if it takes that one.
BESIDE = {
    "data import": ["nowhere"],
    "data pull": ["nowhere", "--out", "pulled"],
    "data select": ["--round", "a"],
    "data merge": ["nowhere"],
    "train": ["--arm", "dpo_human"],
    "trace": ["nowhere"],
    "world pairs": ["--set", "world.pairs=2"],
    "world build": ["--vae-steps", "no number"],
    "world build-clip": ["--steps", "no number"],
    "world serve": ["--port", "no number"],
}
SETTINGS = ["label.base_url={}", "judge.base_url={}", "score.oracle_url={}", "{}", "label.api_key={}", "label={}"]


def _commands(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for part, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*name, part))
    if name and not hasattr(command, "commands"):
        yield " ".join(name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


def _calls(name: str) -> Iterator[list[str]]:
    """The command with the mark in each of its arguments, in each setting, and as an option that there is not."""
    beside = BESIDE.get(name, [])
    yield [*name.split(), f"--{ADDRESS}"]
    for parameter in COMMANDS[name].params:
        if getattr(parameter, "is_flag", False) or parameter.opts[0] in beside:
            continue
        if parameter.param_type_name == "argument":
            yield [*name.split(), *beside[1:], f"https://{ADDRESS}"]
            yield [*name.split(), *beside[1:], "--", ADDRESS]
        elif parameter.opts[0] == "--set":
            for setting in SETTINGS:
                for address in (ADDRESS, f"http://{ADDRESS}"):
                    yield [*name.split(), *beside, "--set", setting.format(address)]
        else:
            yield [*name.split(), *beside, parameter.opts[0], ADDRESS]


def _run(arguments: list[str]) -> str:
    """What the command prints; it is called in this process, and whatever it logs is asked for."""
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    with patch.object(sys, "argv", ["dedpo", *arguments]), redirect_stdout(told), redirect_stderr(told):
        logging.getLogger().addHandler(handler)
        try:
            with pytest.raises(SystemExit):
                main()
        finally:
            logging.getLogger().removeHandler(handler)
    return told.getvalue()


def _written(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes())


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and an environment full of secrets; keys end in a newline, as a file's content does."""
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, f"{KEY}\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("DEDPO_WEBHOOK_URL", f"http://127.0.0.1:9/hooks/{KEY}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_no_argument_of_a_command_shows_a_password(name: str, marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It imports torch in a process of its own, each time.
    monkeypatch.setattr("dedpo.cli.machine._torch", lambda: iter(()))
    for arguments in _calls(name):
        told = _run(arguments)
        assert MARK not in told, (arguments, told)
        assert not list(_written(marked)), arguments


@pytest.mark.parametrize("setting", SETTINGS[:3])
@pytest.mark.parametrize("address", [ADDRESS, f"http://{ADDRESS}", f"http://{PASSWORD}@127.0.0.1:9"])
def test_a_password_is_not_written_into_the_settings(setting: str, address: str, marked: Path) -> None:
    (marked / "params.yaml").write_text("label: {}\njudge: {}\nscore: {}\n")
    told = _run(["config", "--write", "--set", setting.format(address)])
    assert "holds a user name or password" in told
    assert not list(_written(marked))


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_our_own_faults_show_none_either(
    verbose: list[str], marked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        logging.getLogger("x").warning("before it fails: %s", KEY)
        raise RuntimeError(f"Illegal header value {f'Bearer {KEY}'.encode()!r}")

    monkeypatch.setattr("dedpo.contract.config.load", broken)
    # A command before it in this process has set its own up, on a stream that is closed.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    told = _run(["config", *verbose])
    assert "internal error: RuntimeError: Illegal header value b'Bearer [key]'" in told
    assert ("Traceback" in told) == bool(verbose)
    out, err = capsys.readouterr()
    assert MARK not in told + out + err


def test_a_file_is_named_for_people_by_one_writer() -> None:
    """Pages, cards and notes go through manifest.write_text and write_json, which blot secrets out."""
    source = Path(redact.__file__).parent
    # What they write is a fixed text, numbers alone, or for a program of ours.
    allowed = {
        "disk.py", "outputs/locks.py", "human/project_files.py", "world/pairs.py", "train/record.py",
    }  # fmt: skip
    found = {
        p.relative_to(source).as_posix()
        for p in source.rglob("*.py")
        if re.search(r"(?<!disk)\.write_text\(", p.read_text())
    }
    assert found <= allowed
