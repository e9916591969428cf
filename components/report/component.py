"""Everything becomes the page that answers."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def report(
    samples: Input[Dataset],
    scores: Input[Dataset],
    records: Input[list[Artifact]],
    targets: Input[Dataset],
    labels: Input[Dataset],
    imported: Input[Artifact],
    bias: Input[Artifact],
    verdicts: Input[Dataset],
    primary: str,
    seed: int,
    settings: str,
    page: Output[HTML],
    summary: Output[Markdown],
    metrics: Output[Metrics],
    files: Output[Artifact],
):
    """Write the page that answers: does the primary arm win, by how much, and how sure is that?

    Args:
        samples: Shards of the samples table.
        scores: The scores table.
        records: What the arms' trainings have measured.
        targets: The targets of all arms.
        labels: The labels table and what was counted.
        imported: What the import has counted.
        bias: Where the annotator differs from people: bias.json and its pages.
        verdicts: The judge's verdicts, if there is one.
        primary: The arm that the answer is about.
        seed: Whose targets and records these are.
        settings: The section 'report' as JSON.
        page: The page, self-contained.
        summary: The same in Markdown.
        metrics: Each method's mean of the report's metric.
        files: The report's folder: page, Markdown, metrics.json, training.csv and the manifest.
    """
    from pathlib import Path

    from dedpo.contract.sections import ReportConfig
    from dedpo.kubeflow import component
    from dedpo.report import stage

    with component.reported():
        work = component.lay_out(component.records(records) | {f"targets/{seed}": targets.path})
        measured = stage.run(
            component.section(ReportConfig, settings),
            primary=primary,
            samples=Path(samples.path),
            scores=Path(scores.path),
            policies=work / "policies",
            targets=work / "targets",
            labels=Path(labels.path),
            data=Path(imported.path),
            bias=Path(bias.path),
            verdicts=Path(verdicts.path),
            out=Path(files.path),
        )
        Path(page.path).write_bytes(Path(files.path, "report.html").read_bytes())
        Path(summary.path).write_bytes(Path(files.path, "report.md").read_bytes())
        component.describe(files, verdict=measured["verdict"], primary=primary)
        component.log(metrics, {name: cells[measured["metric"]]["mean"] for name, cells in measured["methods"].items()})
