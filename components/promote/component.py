"""Whether the primary arm's policy is promoted."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def promote(
    report: Input[Artifact],
    records: Input[list[Artifact]],
    primary: str,
    seed: int,
    settings: str,
    page: Output[Markdown],
    decision: Output[Artifact],
) -> bool:
    """Decide from the report's numbers whether the primary arm's policy may replace what is in use; no is no error.

    Args:
        report: The report's folder with metrics.json.
        records: What the arms' trainings have measured, with the policies' hashes.
        primary: The arm that the decision is about.
        seed: Of its training.
        settings: The section 'promote' as JSON.
        page: The decision with its reasons.
        decision: promotion.json and the page.

    Returns:
        Output: Whether it is promoted.
    """
    from pathlib import Path

    from dedpo.contract.sections import PromoteConfig
    from dedpo.decide import promotion
    from dedpo.kubeflow import component

    with component.reported():
        policy = component.records(records)[f"policies/{seed}/{primary}"]
        found = promotion.run(
            component.section(PromoteConfig, settings),
            metrics=Path(report.path, "metrics.json"),
            policy=Path(policy),
            out=Path(decision.path),
        )
        Path(page.path).write_bytes(Path(decision.path, "promotion.md").read_bytes())
        component.describe(decision, promoted=found["promoted"], primary=primary, seed=seed)
        return found["promoted"]
