"""What a pipeline's run asks for, checked before anything is spent: settings, data, endpoints, keys, GPUs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from dedpo import redact
from dedpo.asking import endpoint_checks, probe
from dedpo.asking.endpoint_checks import ON_KUBEFLOW, Finding
from dedpo.contract import model_names
from dedpo.contract.config import Config
from dedpo.contract.sections import AnnotatorConfig, ScoreConfig
from dedpo.errors import excerpt
from dedpo.judge.probe import judgement
from dedpo.kubeflow import gpus as shares
from dedpo.kubeflow import offline, source_checks
from dedpo.kubeflow.overrides import STAGES
from dedpo.kubeflow.parameters import Request
from dedpo.label.probe import annotation

# The endpoints and repositories are asked at the same time, and have this long together.
SECONDS: Final = 9.0
# A real answer takes a thinking model some tens of seconds.
QUESTION_SECONDS: Final = probe.SECONDS + SECONDS
ASKED_OF_ORACLE: Final = frozenset({"human_oracle", "adherence"})


class Plan(NamedTuple):
    """What the pipeline's tasks are given. One loop of label tasks serves all three ways of labelling.

    Attributes:
        sections: stage → its section of the settings as JSON: changing one stage's setting repeats no other stage.
            Without a judge, its section names no model.
        origin: how the source is to be had.
        commit: of a versioned source; else the parameter `revision`.
        arms: those to train; the primary alone if the baselines are off.
        labelling: labels are there, an endpoint is asked, or each label task starts a server.
        label_image, label_gpus, label_cpus, label_memory, label_selector, label_tolerations: of the label tasks.
        gpus, cpus, memory: of a training; one_gpu: of the other GPU tasks, 0 if the run has none.
        accelerator, node_selector, tolerations: of GPU tasks; a selector and tolerations only where there are GPUs.
    """

    sections: dict[str, str]
    origin: Literal["folder", "versioned", "world"]
    commit: str
    arms: list[str]
    max_pixels: int
    labelling: Literal["given", "endpoint", "server"]
    label_image: str
    label_gpus: str
    label_cpus: str
    label_memory: str
    label_selector: dict[str, str]
    label_tolerations: list[dict[str, Any]]
    gpus: str
    one_gpu: str
    cpus: str
    memory: str
    accelerator: str
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]


def check(asked: Request) -> Plan:
    """Examine the pipeline's parameters, and print what was found, a line each.

    Takes less than `SECONDS` and, for each model that is asked, `QUESTION_SECONDS`, and a little; starts
    nothing, and spends at most one answer of each.

    Raises:
        UserError: names everything that is wrong, not only the first thing.
    """
    config, pool, findings = offline.settle(asked, in_image=True)
    findings.append(endpoint_checks.found("base", lambda: _hub(asked.base)))
    kind, found = source_checks.written(asked.source, asked.prompts)
    findings += found
    if kind == "world" or (kind and Path(asked.source).is_dir()):
        findings.append(Finding("source", "ok", f"{excerpt(asked.source)} ({kind})"))
    commits: list[str] = []
    findings += _together(_remote_checks(asked, config, kind, commits), SECONDS)
    # Nothing is paid for a run that is refused anyway.
    if config is not None and not any(f.state == "missing" for f in findings):
        # One after the other: both clients import libraries that they share while they work, and two threads that do
        # so at once see modules that are half there.
        for what, question in _questions(asked, config).items():
            findings += _together({what: question}, QUESTION_SECONDS)
    show(findings)
    offline.refuse(findings)
    assert config is not None
    assert pool is not None
    assert kind is not None
    if not asked.judge:
        config = config.model_copy(update={"judge": config.judge.model_copy(update={"model": None})})
    serves = asked.labelling == "server" and bool(config.label.served)
    looks = any(one.kind in ("clip", "score") for one in config.label.each)
    training, label = shares.training(asked.gpus), shares.labelling(serves=serves, looks=looks)
    selector, tolerations = dict(pool.selector), [t.model_dump(exclude_none=True) for t in pool.tolerations]
    return Plan(
        sections={stage: getattr(config, stage).model_dump_json() for stage in STAGES},
        origin=kind,
        commit=commits[0] if commits else asked.revision,
        arms=list(config.arms),
        max_pixels=config.data.max_pixels,
        labelling=asked.labelling if serves or asked.labelling == "given" else "endpoint",
        label_image=asked.label_image if serves else asked.image,
        label_gpus=label.gpus,
        label_cpus=label.cpus,
        label_memory=label.memory,
        label_selector=selector if serves else {},
        label_tolerations=tolerations if serves else [],
        gpus=training.gpus,
        one_gpu=str(min(asked.gpus, 1)),
        cpus=training.cpus,
        memory=training.memory,
        accelerator=pool.accelerator,
        node_selector=selector if asked.gpus else {},
        tolerations=tolerations if asked.gpus else [],
    )


def show(findings: Sequence[Finding]) -> None:
    """Print a line for each finding: a pod's log has no width, and a table would break the lines."""
    width = max(len(f.what) for f in findings)
    for finding in findings:
        print(f"{finding.state:<8}{finding.what:<{width}}  {redact.text(finding.detail)}", flush=True)  # noqa: T201


def _hub(base: str) -> tuple[bool, str]:
    if Path(base).exists():
        return True, base
    if base.startswith("/"):
        return False, f"{base}: not in this image; the training image or a volume must have it"
    model_names.check_name(base, "base")
    if os.environ.get("HF_TOKEN"):
        return True, f"{base} from the hub; $HF_TOKEN is set"
    return False, f"{base} from the hub; $HF_TOKEN is not set (gated models refuse without)"


Check = Callable[[], Finding]


def _remote_checks(
    asked: Request, config: Config | None, kind: source_checks.Origin | None, commits: list[str]
) -> dict[str, Check]:
    """What needs a network; `commits` gets the commit of a source's revision."""
    checks: dict[str, Check] = {}
    if kind == "versioned":
        checks["source"] = lambda: source_checks.version(asked.source, commits)
    elif kind == "folder" and not Path(asked.source).is_dir():
        checks["source"] = lambda: source_checks.store("source", asked.source)
    if asked.labels:
        checks["labels"] = lambda: source_checks.labels(asked.labels)
    if config is not None:
        judge, score = config.judge, config.score
        for name, one in _endpoints(asked, config):
            checks[f"annotator{name}"] = partial(endpoint_checks.annotator, one, ON_KUBEFLOW)
        if asked.judge:
            checks["judge"] = lambda: endpoint_checks.judge(judge, ON_KUBEFLOW)
        if ASKED_OF_ORACLE & set(score.metrics):
            checks["oracle"] = lambda: _oracle(score)
    return checks


def _oracle(config: ScoreConfig) -> Finding:
    if address := config.oracle_url or os.environ.get("DEDPO_ORACLE_URL"):
        return endpoint_checks.oracle(address, ON_KUBEFLOW)
    told = (
        f"score.metrics asks for {', '.join(sorted(ASKED_OF_ORACLE & set(config.metrics)))}, which an endpoint "
        'measures, and score.oracle_url is not set; set it, or other metrics: {"score.metrics": ["clipscore"], '
        '"report.metric": "clipscore"}'
    )
    return Finding("oracle", "missing", told)


def _questions(asked: Request, config: Config) -> dict[str, Check]:
    """What is paid for: a real question to each model that the run will ask."""
    questions: dict[str, Check] = {}
    for name, one in _endpoints(asked, config):
        questions[f"annotator's answer{name}"] = partial(annotation, one)
    if asked.judge:
        questions["judge's answer"] = lambda: judgement(config.judge)
    return questions


def _endpoints(asked: Request, config: Config) -> Iterator[tuple[str, AnnotatorConfig]]:
    """The annotators that the run asks where they are, and what each is called if there are several."""
    if asked.labelling == "given":
        return
    for one in config.label.endpoints:
        if one.base_url or asked.labelling == "endpoint":
            yield (f" {excerpt(one.annotator, 60)}" if config.label.annotators else ""), one


def _together(checks: Mapping[str, Check], seconds: float) -> list[Finding]:
    """Run the checks side by side; one that does not end in time is a finding, too, and is left behind."""
    late = f"no answer in {seconds:.0f} s; check address, network and egress"
    results = {name: Finding(name, "missing", f"{name}: {late}") for name in checks}

    def work(name: str, ask: Check) -> None:
        try:
            results[name] = ask()
        except Exception as error:  # A thread's exception would read as silence.
            results[name] = Finding(name, "missing", f"{name}: {type(error).__name__}: {excerpt(str(error))}")

    # Daemons: a name server that keeps silent must not keep the task alive.
    threads = [threading.Thread(target=work, args=check, daemon=True) for check in checks.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results.values())
