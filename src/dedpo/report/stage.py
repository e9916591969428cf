"""The page that answers: does the primary arm beat its rivals, by how much, and how sure is that?"""

from __future__ import annotations

from pathlib import Path

from dedpo.contract.records.report import Fair, Report, RivalShares, Table
from dedpo.contract.sections import ReportConfig
from dedpo.outputs.manifest import output_folder, write_json, write_text
from dedpo.report import markdown, page, training
from dedpo.report.bias import plain
from dedpo.report.content import Content, build
from dedpo.report.labels import means
from dedpo.report.methods import REFERENCE, shown
from dedpo.report.pictures import read_pictures
from dedpo.report.reading import Places, Sources, finished, finite, read, require
from dedpo.report.summary import Estimate

FILES = ("report.html", "report.md", "training.csv", "metrics.json")


def run(
    config: ReportConfig,
    *,
    primary: str,
    samples: Path,
    scores: Path,
    policies: Path,
    targets: Path,
    labels: Path,
    data: Path,
    bias: Path | None = None,
    verdicts: Path | None = None,
    out: Path,
) -> Report:
    """Write report.html, report.md, metrics.json and training.csv; arms and seeds are those of the scores' models.

    Whatever else lies in `out` stays there.

    Args:
        primary: the arm that the answer is about, named before the results were seen.
        policies: holds <seed>/<arm>/ of every training.
        targets: holds <seed>/<arm>/targets.json.
        bias: holds bias.json.
        verdicts: holds verdicts.parquet and summary.json.
        samples, policies, targets, labels, data, bias, verdicts: what is missing there is 'not available' on the page.

    Returns:
        the content of metrics.json.

    Raises:
        UserError: the scores are missing or broken, lack the metric or the primary arm, or samples, scores and verdicts
            are not of what lies there now.
    """
    places = Places(
        samples=samples,
        scores=scores,
        policies=policies,
        targets=targets,
        labels=labels,
        data=data,
        bias=bias,
        verdicts=verdicts,
    )
    require(places)
    sources = read(places)
    settings = config.model_dump() | {"primary": primary}
    with output_folder(out, stage="report", config=settings, inputs=finished(places, sources), shared=FILES) as partial:
        pictures = read_pictures(samples, _shown_models(sources), config.grid_prompts)
        content = build(config, primary, sources, pictures, _bias_page(bias))
        write_text(partial / "report.html", page.render(content))
        write_text(partial / "report.md", markdown.render(content))
        write_text(partial / "training.csv", training.table(sources.logs))
        metrics = _metrics(content)
        write_json(partial / "metrics.json", metrics)
    return metrics


def _shown_models(sources: Sources) -> dict[str, str]:
    """Method → the model whose pictures are shown: the one of the lowest training seed."""
    methods = shown({method for cells in sources.grid.metrics.values() for method in cells})
    seed = sources.grid.seeds[0] if sources.grid.seeds else 0
    return {m.name: m.name if m.name == REFERENCE else f"{m.name}-{seed}" for m in methods}


def _bias_page(bias: Path | None) -> str | None:
    page = bias / "bias.html" if bias else None
    return page.as_posix() if page and page.is_file() else None


def _metrics(content: Content) -> Report:
    """Plain numbers for DVC, CI and the promotion gate; what is not finite is null."""
    return {
        "seeds": content.seeds,
        "primary": content.primary,
        "metric": content.metric,
        "interval": content.interval,
        "verdict": content.answer.verdict,
        "methods": _plain(content.means),
        "differences": _plain(content.differences),
        "win_rates": _plain(content.wins),
        "frontier": _frontier(content),
        "policies": _plain(content.policies),
        "labels": means(content.worth.get(content.primary, {})),
        "judge": _judge(content),
        "bias": plain(content.bias),
    }


def _frontier(content: Content) -> Fair | None:
    found = content.frontier
    if found is None:
        return None
    gaps = _plain({"at_best": found.at_best, "at_drift": found.at_drift})
    return {
        "drift": found.drift,
        "best_step": found.best,
        "at_best": gaps["at_best"],
        "at_drift": gaps["at_drift"],
    }


def _judge(content: Content) -> dict[str, dict[str, RivalShares]]:
    rivals = content.judged.rivals if content.judged else {}
    return {
        rival: {
            criterion: {
                "win": finite(s.win.mean),
                "tie": finite(s.tie.mean),
                "loss": finite(s.loss.mean),
                "win_rate": finite(s.rate.mean),
                "low": finite(s.rate.low),
                "high": finite(s.rate.high),
                "n": s.rate.n,
            }
            for criterion, s in criteria.items()
        }
        for rival, criteria in rivals.items()
    }


def _plain(table: dict[str, dict[str, Estimate]]) -> Table:
    return {
        row: {
            column: {"mean": finite(e.mean), "low": finite(e.low), "high": finite(e.high), "n": e.n}
            for column, e in cells.items()
        }
        for row, cells in table.items()
    }
