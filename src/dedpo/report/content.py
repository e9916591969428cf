"""Everything that the page and the markdown say, worked out once from what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dedpo.contract.records.data import Imported
from dedpo.contract.records.evaluation import Verdicts
from dedpo.contract.records.labels import Labels
from dedpo.contract.records.trust import Trusted
from dedpo.contract.sections import ReportConfig
from dedpo.errors import UserError
from dedpo.report import labels, summary, training
from dedpo.report.answer import Answer, answer
from dedpo.report.bias import Bias, bias
from dedpo.report.costs import Cost, costs
from dedpo.report.frontier import Frontier, frontier
from dedpo.report.judged import Judged, judged
from dedpo.report.labels import Draws
from dedpo.report.methods import REFERENCE, Method, shown
from dedpo.report.pictures import PictureRow
from dedpo.report.provenance import Provenance, provenance
from dedpo.report.reading import Sources
from dedpo.report.summary import Estimate
from dedpo.report.training import Line

# Never far from the chosen metric: a score that rises while adherence falls was gamed.
ADHERENCE: Final = "adherence"


@dataclass(frozen=True)
class Content:
    """The report.

    Attributes:
        metrics: the chosen metric first, adherence next to it.
        interval: 'over seeds' or 'over prompts only'.
        means: method → metric → estimate.
        differences: method → metric → primary minus method.
        wins: method → method → win rate on the chosen metric.
        policies: method → measure → estimate over training seeds.
        worth: method → training seed → targets.json; n_eff_at: where that is counted, in words.
        trust: annotator → what the labelled pairs say of it; empty if not available.
        curves: measure → lines.
        frontier: None where no snapshots of the primary arm were scored.
        judged, bias: None if not available; bias_page: where the whole bias report lies.
        costs: a row a stage.
        data, labels, judging: the summaries of import, labelling and judge; None if not available.
    """

    primary: str
    metric: str
    metrics: list[str]
    methods: list[Method]
    seeds: list[int]
    prompts: int
    sampling_seeds: int
    interval: str
    answer: Answer
    frontier: Frontier | None
    means: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    wins: dict[str, dict[str, Estimate]]
    policies: dict[str, dict[str, Estimate]]
    worth: dict[str, Draws]
    n_eff_at: str
    trust: dict[str, Trusted]
    warnings: list[str]
    curves: dict[str, list[Line]]
    pictures: list[PictureRow]
    judged: Judged | None
    bias: Bias | None
    bias_page: str | None
    costs: list[Cost]
    provenance: Provenance
    data: Imported | None
    labels: Labels | None
    judging: Verdicts | None

    def best(self, metric: str) -> str | None:
        """The method with the highest mean of a metric."""
        scored = {method: found[metric].mean for method, found in self.means.items() if metric in found}
        return max(scored, key=lambda method: scored[method]) if scored else None


def build(
    config: ReportConfig, primary: str, sources: Sources, pictures: list[PictureRow], bias_page: str | None = None
) -> Content:
    """Work out the report.

    Args:
        bias_page: where the whole bias report lies, as a reader would look for it.

    Raises:
        UserError: the scores lack the metric or the primary arm.
    """
    metrics = sources.grid.metrics
    cells = _main_cells(config.metric, primary, metrics)
    methods = shown({method for c in metrics.values() for method in c})
    means = {
        m.name: {metric: summary.estimate(c[m.name]) for metric, c in metrics.items() if m.name in c} for m in methods
    }
    main = {m: found[config.metric] for m, found in means.items() if config.metric in found}
    differences = summary.differences(primary, metrics)
    against = {m: found[config.metric] for m, found in differences.items() if config.metric in found}
    beside = sources.validation.metrics.get(config.metric, {}) if sources.validation else {}
    fair = frontier(
        primary,
        sources.snapshots.metrics[config.metric],
        beside,
        training.drifts(sources.logs, sources.policies),
        sources.grid.seeds,
        training.steps(sources.policies),
    )
    origin, worth = provenance(sources.manifests), labels.worth(sources.targets)
    return Content(
        primary=primary,
        metric=config.metric,
        metrics=sorted(metrics, key=lambda m: (m != config.metric, m != ADHERENCE, m)),
        methods=methods,
        seeds=sources.grid.seeds,
        prompts=len(sources.grid.prompt_ids),
        sampling_seeds=cells[primary].shape[2],
        interval=summary.interval_kind(main),
        answer=answer(primary, config.metric, against, main, fair),
        frontier=fair,
        means=means,
        differences=differences,
        wins=summary.win_rates({m.name: cells[m.name] for m in methods if m.name in cells}),
        policies={m.name: training.measures(m.name, sources.policies) for m in methods},
        worth=worth,
        n_eff_at=labels.place(worth),
        trust=labels.trusted(sources.trust),
        warnings=[*training.warnings(sources.policies), *labels.warnings(sources.targets)],
        curves=training.curves(methods, sources.logs),
        pictures=pictures,
        judged=judged(primary, config.metric, sources.verdicts, sources.grid),
        bias=bias(sources.bias),
        bias_page=bias_page,
        costs=costs(origin.durations, sources.labels, sources.judged),
        provenance=origin,
        data=sources.data,
        labels=sources.labels,
        judging=sources.judged,
    )


def _main_cells(metric: str, primary: str, metrics: dict[str, summary.Cells]) -> summary.Cells:
    if metric not in metrics:
        told = (
            f"the scores hold {', '.join(metrics)}; score it, or add --set report.metric={next(iter(metrics), metric)}"
        )
        raise UserError(f"report.metric: '{metric}' was not scored; {told}")
    if primary not in metrics[metric]:
        known = ", ".join(metrics[metric])
        other = next((arm for arm in metrics[metric] if arm != REFERENCE), primary)
        raise UserError(
            f"primary: arm '{primary}' was not scored on {metric}; the scores hold {known}; train, sample and score "
            f"it, or add --set primary={other}"
        )
    return metrics[metric]
