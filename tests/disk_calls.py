"""What is forced to the disk and what is renamed, in order: what a power cut between any two of them would leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What was done, in order: ('sync', path) and ('rename', to), relative to the test's folder."""
    done, fsync, replace, rename = [], os.fsync, os.replace, Path.replace

    def name(path):
        return os.path.relpath(path, tmp_path)

    def synced(descriptor):
        done.append(("sync", name(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def replaced(source, target):
        done.append(("rename", name(target)))
        replace(source, target)

    def renamed(source, target):
        done.append(("rename", name(target)))
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(Path, "replace", renamed)
    return done


def in_order(calls, *expected):
    """The expected calls happen in this order, whatever lies between."""
    rest = iter(calls)
    for call in expected:
        assert call in rest, f"{call} is missing, or comes too early, in {calls}"
