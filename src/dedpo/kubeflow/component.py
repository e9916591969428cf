"""What the Kubeflow components share: settings as JSON, folders in a stage's layout, metadata, one-line errors.

It knows of kfp only that an artefact has a path and metadata, so that the components stay a few lines each.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from dedpo import redact
from dedpo.contract import config
from dedpo.contract.sections import Section
from dedpo.errors import UserError, excerpt, of_disk
from dedpo.kubeflow.volume import answers, cache_folder, durable, finished, prune, workspace
from dedpo.outputs.manifest import MANIFEST, fingerprint, fingerprints, read_manifest, write_text
from dedpo.outputs.origin import hand_on, split_models

# What the volume is good for is called from here, too: a component imports this module alone.
__all__ = [
    "answers", "cache_folder", "classification", "copy", "describe", "durable", "finished", "lay_out", "local_models",
    "log", "move", "note", "policies", "prune", "records", "reported", "revision", "section", "take", "workspace",
]  # fmt: skip

Settings = TypeVar("Settings", bound=Section)


class Artifact(Protocol):
    """What a stage needs of a kfp artefact."""

    metadata: dict[str, Any]

    @property
    def path(self) -> str: ...

    @property
    def uri(self) -> str: ...


class Metrics(Protocol):
    """What a stage needs of a kfp Metrics artefact."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationMetrics(Protocol):
    """What a stage needs of a kfp ClassificationMetrics artefact."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...


@contextmanager
def reported() -> Iterator[None]:
    """End the process as the command does: with 2 after one line that the user can put right; no secret is shown."""
    # kfp logs at INFO, at which the HTTP clients write a line a request.
    for name in ("httpx", "httpcore", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with redact.streams():
        try:
            yield
        except Exception as error:
            if told := error if isinstance(error, UserError) else of_disk(error):
                print(f"error: {told}", file=sys.stderr, flush=True)  # noqa: T201
                sys.exit(2)
            # Whoever called us would print it as it is.
            traceback.print_exc()
            sys.exit(1)


def section(kind: type[Settings], text: str) -> Settings:
    """One stage's settings from JSON; keys that are left out keep their defaults.

    Raises:
        UserError: no JSON, an unknown key, or a value out of range.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{config.explain(error, f'settings ({kind.__name__})', kind)}; all: {excerpt(text)}") from None


def describe(artifact: Artifact, **facts: Any) -> None:
    """Put `facts` and the content's hash into an artefact's metadata, where the Kubeflow UI shows them."""
    artifact.metadata.update(facts, sha256=fingerprint(Path(artifact.path)))


def log(metrics: Metrics, facts: Mapping[str, Any]) -> None:
    """Log every finite number among `facts`."""
    for name, value in facts.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            metrics.log_metric(name, float(value))


def move(folder: str, parts: Mapping[str, str]) -> None:
    """Move files or folders out of a finished output, so that each is an artefact of its own.

    A folder takes the revision of the data along, which the manifest that stays behind holds.
    """
    for name, target in parts.items():
        shutil.move(Path(folder, name), target)
        if Path(target).is_dir():
            hand_on(Path(folder), Path(target))


def copy(folder: str, names: Iterable[str], target: str) -> None:
    """Copy those of the named files that are in `folder` into the new folder `target`."""
    Path(target).mkdir(parents=True)
    for name in names:
        if Path(folder, name).is_file():
            shutil.copy(Path(folder, name), target)


def note(folder: str, text: str) -> None:
    """An output with nothing in it but a line that says why."""
    # Not empty: an object store keeps no empty folder for the next task to find.
    Path(folder).mkdir(parents=True)
    write_text(Path(folder, "README.md"), f"{text}\n")


def take(given: Artifact, target: Artifact, what: str, needs: Sequence[str], facts: str) -> dict[str, Any]:
    """Copy a finished output that somebody names into an artefact of this run; returns what its file `facts` says.

    Raises:
        UserError: one of the files `needs`, or `facts`, is not there.
    """
    for name in (*needs, facts):
        if not Path(given.path, name).is_file():
            raise UserError(
                f"{what}: no {name} at {excerpt(given.uri)}; name the URI of a finished output folder, which "
                "the run's account may read"
            )
    shutil.copytree(given.path, target.path)
    found = json.loads(Path(target.path, facts).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    describe(target, taken_from=excerpt(given.uri, 500))
    return found


def lay_out(parts: Mapping[str, str]) -> Path:
    """A temporary folder in the layout that a stage reads, its files being links to artefacts.

    Args:
        parts: place in the folder, such as 'policies/0/dedpo' → an artefact's path.
    """
    root = Path(tempfile.mkdtemp(prefix="dedpo-"))
    for name, source in parts.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Only files are links: hashing does not look into a folder that is one.
        if Path(source).is_dir():
            shutil.copytree(source, target, copy_function=os.symlink)
        else:
            target.symlink_to(source)
    return root


def revision(folder: str, given: str = "") -> dict[str, str]:
    """Which state of the data an output was made from, as metadata: what its manifest says, else what was `given`."""
    path = Path(folder, MANIFEST)
    known = read_manifest(Path(folder)).get("revision") if path.is_file() else None
    if not isinstance(known, dict):
        return {"data_revision": given} if given else {}
    found = {f"data_{name}": str(known[name]) for name in ("repo", "revision", "commit", "path") if known.get(name)}
    return {"data_revision": given} | found if given else found


def local_models(**models: str | None) -> dict[str, str]:
    """The content's hash of each model that is a file or folder here: under the same path, a new image may differ."""
    return fingerprints(split_models(models)[0])


def policies(models: Sequence[Artifact]) -> dict[str, str]:
    """<arm>-<seed> → folder, from the metadata that training has set."""
    return {f"{m.metadata['arm']}-{int(m.metadata['seed'])}": m.path for m in models}


def records(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """policies/<seed>/<arm> → folder: where the report looks for what a training has logged."""
    return {f"policies/{int(a.metadata['seed'])}/{a.metadata['arm']}": a.path for a in artifacts}


def classification(metrics: ClassificationMetrics, facts: Mapping[str, Any]) -> None:
    """Show the annotator against people in Kubeflow's own views: choices crossed, and the curve of thresholds.

    Args:
        facts: the content of bias.json; what it lacks is left out.
    """
    if choices := facts.get("choices"):
        # Its rows are what is true: people's choices.
        metrics.log_confusion_matrix(["image 0", "a tie", "image 1"], choices)
    if curve := facts.get("roc"):
        metrics.log_roc_curve(curve["false_positive"], curve["true_positive"], curve["threshold"])
