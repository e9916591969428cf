"""A person at a terminal in one folder: runs commands, and sees what each of them did to the files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# What tools keep for themselves (the trainer's cache, the dashboard's memory and the logs of answers, too: they are no
# outputs), and the files that a command is asked to rewrite.
LOGS = tuple(f"outputs/{stage}.answers/" for stage in ("labels", "scores", "verdicts"))
OWN = (".git/", ".dvc/tmp/", ".site/", "outputs/cache/", "outputs/evidently/", *LOGS)
REWRITTEN = ("dvc.lock", "params.yaml", "dvc.yaml", ".dvc", ".dvc/config", ".gitignore")


class File(NamedTuple):
    inode: int
    sha256: str


class Shell:
    """`run` prints a command and how long it took, and fails if it failed or rewrote a file in place."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        binaries = Path(sys.executable).parent
        self.environment = os.environ | environment | {"PATH": f"{binaries}:{os.environ['PATH']}"}
        self.log: list[tuple[str, float]] = []

    def run(self, *command: str, kept: tuple[str, ...] = (), status: int = 0) -> str:
        """What the command printed.

        Args:
            kept: beginnings of names of files that must be there afterwards as they were, inode included.
        """
        before = self.files()
        begun = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=1200
        )
        seconds = time.perf_counter() - begun
        shown = " ".join(command)
        print(f"{seconds:6.1f} s  {self.folder.name}$ {shown}", flush=True)
        self.log.append((shown, seconds))
        assert done.returncode == status, f"{shown}\n{done.stdout}\n{done.stderr}"
        after = self.files()
        for name in before.keys() & after.keys():
            if before[name].inode == after[name].inode and not name.endswith(REWRITTEN):
                assert before[name] == after[name], f"'{shown}' rewrote {name} in place"
        for name in before:
            if name.startswith(kept or ("\0",)):
                assert before[name] == after.get(name), f"'{shown}' touched {name}"
        return done.stdout + done.stderr

    def files(self) -> dict[str, File]:
        """Every file below the folder by name."""
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                short = path.relative_to(self.folder).as_posix()
                if not short.startswith(OWN) and not path.is_symlink():
                    found[short] = File(path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())
        return found


def stages_run(output: str) -> set[str]:
    """The stages that `dvc repro` ran, without seeds and arms."""
    return {line.split("'")[1].split("@")[0] for line in output.splitlines() if line.startswith("Running stage")}
