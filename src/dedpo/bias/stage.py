"""Where the annotator differs from people: numbers, a page, and a run in Evidently's workspace."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedpo.bias import answer, page, reading
from dedpo.bias.analysis import analyse
from dedpo.bias.comparison import Comparison
from dedpo.contract.records.bias import Bias
from dedpo.contract.sections import BiasConfig
from dedpo.errors import UserError
from dedpo.outputs.manifest import output_folder, write_json, write_text

if TYPE_CHECKING:
    from dedpo.bias.evidently_report import DashboardRun


def run(
    config: BiasConfig,
    *,
    pairs: Path,
    ratings: Path,
    splits: Path,
    labels: Path,
    out: Path,
    features: Path | None = None,
    max_pixels: int = 40_000_000,
) -> Bias:
    """Write bias.json, bias.html and evidently.html, then add a run to the workspace.

    Only what a run may see is compared: human ratings of labelled pairs and of held-out ones. The other ratings of
    training pairs stay unread, whatever the table holds.

    Args:
        features: the folder of `dedpo data features`: a pair that it has measured is not decoded again.
        max_pixels: the properties of a larger image are unknown.

    Returns:
        the content of bias.json; what could not be computed is None, with its reason in 'could_not_compute'.

    Raises:
        UserError: an input is missing or wrong, no pair that may be seen is rated, or `out` cannot be written.
    """
    inputs = {"pairs": pairs, "ratings": ratings, "splits": splits, "labels": labels}
    if features is not None:
        inputs["features"] = features
    settings = config.model_dump() | {"max_pixels": max_pixels}
    with output_folder(out, stage="bias", config=settings, inputs=inputs) as partial:
        compared = reading.read_folder(pairs, ratings, splits, labels, features, max_pixels, config.annotator)
        facts, evidently = _write(compared, config, partial)
    _follow(evidently, config)
    return facts


def run_table(
    config: BiasConfig,
    *,
    table: Path,
    human: str,
    ai: str,
    prompt: str,
    raters: Sequence[str],
    out: Path,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Bias:
    """The same for any table of preferences, without images: `human`, `ai`, `prompt` and `raters` name its columns.

    Args:
        values: what a user says that values mean; see `reading.read_table`.

    Returns:
        the content of bias.json.

    Raises:
        UserError: no such file or column, a cell that is no preference, or `out` cannot be written.
    """
    columns: dict[str, Any] = {"human": human, "ai": ai, "prompt": prompt, "raters": list(raters)}
    told = {meaning: list(texts) for meaning, texts in (values or {}).items() if texts}
    columns |= {"values": told} if told else {}
    if not table.is_file():
        raise UserError(f"{table}: no such file; name a CSV with --table")
    with output_folder(out, stage="bias", config=config.model_dump() | columns, inputs={"table": table}) as partial:
        compared = reading.read_table(table, human=human, ai=ai, prompt=prompt, raters=raters, values=told)
        facts, evidently = _write(compared, config, partial)
    _follow(evidently, config)
    return facts


def describe(facts: Bias) -> str:
    """bias.json in a few lines: the answer, the numbers, what could not be computed."""
    lines = [facts["headline"]]
    found, people = facts["agreement"], facts["ceiling"]
    if found:
        bounds = f"{found['low']:.4f} to {found['high']:.4f}"
        lines.append(
            f"agreement: {found['value']:.4f} ({bounds}) on {found['n']} pairs; kappa: {answer.number(found['kappa'])}"
        )
    if people:
        lines.append(
            f"people with each other: {people['value']:.4f}; the annotator with one of them: {people['one_human']:.4f}"
        )
    lines += [f"warning: {text}" for text in facts["warnings"]]
    lines += [f"not computed: {name}: {reason}" for name, reason in facts["could_not_compute"].items()]
    return "\n".join(lines)


def _write(compared: Comparison, config: BiasConfig, folder: Path) -> tuple[Bias, DashboardRun | None]:
    found = analyse(compared, config)
    turned = answer.turned(found, compared.remedy)
    warnings = [*compared.warnings, *([turned] if turned else [])]
    facts: Bias = {
        **found,
        "headline": answer.headline(found),
        "reversed": turned,
        "warnings": warnings,
        "notes": [*warnings, *found["notes"]],
        "settings": config.model_dump(),
    }
    write_json(folder / "bias.json", facts)
    write_text(folder / "bias.html", page.render(facts))
    from dedpo.bias import evidently_report  # takes 5 s to import

    return facts, evidently_report.write(compared, facts, folder / "evidently.html")


def _follow(run: DashboardRun | None, config: BiasConfig) -> None:
    """Add the run to the workspace, once the results are finished: they do not depend on it."""
    if run is None:
        return
    from dedpo.bias import evidently_report

    for warned in evidently_report.add(run, Path(config.workspace)):
        logging.getLogger(__name__).warning(warned)
