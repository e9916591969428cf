"""What a run asks for, as far as it can be judged without a network: settings, names and GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dedpo.asking.endpoint_checks import Finding
from dedpo.contract.config import Config
from dedpo.errors import UserError, excerpt
from dedpo.kubeflow import gpus, names, overrides, source_checks
from dedpo.kubeflow.parameters import Request


def check(asked: Request) -> None:
    """Refuse before anything is sent what the pipeline's first task would refuse.

    Raises:
        UserError: names everything that is wrong.
    """
    refuse([*settle(asked, in_image=False)[2], *source_checks.written(asked.source, asked.prompts)[1]])


def refuse(findings: Sequence[Finding]) -> None:
    """Raise a UserError of one line that names all that is missing, if something is."""
    problems = [f.detail for f in findings if f.state == "missing"]
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        numbered = "; ".join(f"({i}) {problem}" for i, problem in enumerate(problems, 1))
        raise UserError(f"{len(problems)} problems: {numbered}")


def settle(asked: Request, *, in_image: bool) -> tuple[Config | None, gpus.Pool | None, list[Finding]]:
    """The run's settings and GPU pool (None where they are wrong beyond repair), and what was found about them.

    Args:
        in_image: whether this runs where the tasks will, so that a base model's folder would be here.
    """
    findings: list[Finding] = []
    config: Config | None = None
    pool: gpus.Pool | None = None
    try:
        config, problems = overrides.resolve(overrides.read(asked.overrides), asked.settings)
        problems += _contradictions(config, judging=bool(asked.judge), serving=asked.labelling == "server")
        findings += [Finding("settings", "missing", problem) for problem in problems]
        findings += [Finding("GPUs", "missing", problem) for problem in gpus.problems(asked, config, in_image=in_image)]
    except UserError as error:
        findings.append(Finding("settings", "missing", str(error)))
    if asked.seed < 0:
        findings.append(Finding("settings", "missing", f"seed: {asked.seed} is negative; set 0 or more"))
    findings += [Finding("names", "missing", problem) for problem in names.problems(asked)]
    try:
        pool = gpus.pool(asked.gpu_pool)
    except UserError as error:
        findings.append(Finding("GPUs", "missing", str(error)))
    if config and not findings:
        findings.append(Finding("settings", "ok", f"arms {', '.join(config.arms)}; primary {config.primary}"))
        findings.append(Finding("GPUs", "ok", f"{asked.gpus} a training task"))
    return config, pool, findings


def _contradictions(config: Config, *, judging: bool, serving: bool) -> Iterator[str]:
    """Settings that a late stage would refuse, after everything before it was paid for."""
    metrics = list(config.score.metrics)
    if config.report.metric not in metrics:
        yield (
            f"report.metric: '{excerpt(config.report.metric)}' is not among score.metrics {metrics}; name one of them"
        )
    if unknown := [arm for arm in config.promote.over if arm not in (*config.arms, "reference")]:
        yield f"promote.over: '{unknown[0]}' is not among the arms {list(config.arms)}; the run trains no other"
    if serving and len(config.label.served) > 1:
        yield (
            f"label.annotators: {', '.join(map(excerpt, config.label.served))} have no base_url, and a label task "
            "serves one model; name their endpoints"
        )
    if missing := [name for name in config.promote.max_loss if name not in metrics]:
        yield f"promote.max_loss: '{missing[0]}' is not among score.metrics {metrics}; measure it, or leave it out"
    if judging and not {*config.arms, "reference"}.difference([config.primary]).intersection(config.judge.rivals):
        yield f"judge.rivals: the run trains none of {', '.join(config.judge.rivals)}; add 'reference'"
    if config.promote.min_win_rate is not None and not judging:
        yield "promote.min_win_rate: no judge is named, so there is no win rate; name one, or leave it out"
