"""Whether a policy is good enough to take the place of what is in use: the report's numbers against limits."""

from __future__ import annotations

from pathlib import Path

from dedpo.contract import records
from dedpo.contract.criteria import OVERALL
from dedpo.contract.records.decisions import Promotion, Reason
from dedpo.contract.records.report import Report
from dedpo.contract.sections import PromoteConfig
from dedpo.errors import UserError, excerpt
from dedpo.outputs import freshness, locks
from dedpo.outputs.manifest import fingerprint, write_json, write_text
from dedpo.outputs.origin import read_json

PAGE, DECISION = "promotion.md", "promotion.json"
_HEADINGS = ("# Promoted: ", "# Not promoted: ")


def run(config: PromoteConfig, *, metrics: Path, policy: Path | None, out: Path) -> Promotion:
    """Write promotion.json and promotion.md beside it: a decision with its reasons. 'No' is an answer and no error.

    Args:
        metrics: the report's metrics.json.
        policy: the primary arm's folder, to be named by its hash; None: not named.
        out: the folder to write into; the two files are replaced, whatever else is there stays.

    Returns:
        the content of promotion.json: promoted, reasons, primary, metric, and the hashes of report and policy.

    Raises:
        UserError: the metrics are missing or broken, `out` cannot be written, or files of these names lie there that
            no promotion wrote; or the report is older than what it reports on.
    """
    freshness.require(metrics.parent, "run 'dedpo report' again")
    found = records.read(metrics, Report, "name the metrics.json of 'dedpo report', or run that again")
    reasons = [reason for rival in config.over for reason in against(config, found, rival)]
    reasons += losses(config, found)
    facts: Promotion = {
        "promoted": all(r["passed"] for r in reasons),
        "primary": found["primary"],
        "metric": found["metric"],
        "reasons": reasons,
        "report_sha256": fingerprint(metrics),
        "policy_sha256": fingerprint(policy) if policy is not None else None,
        "settings": config.model_dump(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locks.alone(out):
            _check(out)
            write_text(out / PAGE, page(facts))
            write_json(out / DECISION, facts)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another place with --out") from None
    return facts


def _check(out: Path) -> None:
    """Refuse to write over what no promotion wrote."""
    found = out / PAGE
    is_page = not found.is_file() or found.read_text(encoding="utf-8", errors="replace").startswith(_HEADINGS)
    is_decision = not (out / DECISION).exists() or "report_sha256" in read_json(out / DECISION)
    for name, is_ours in ((PAGE, is_page), (DECISION, is_decision)):
        if not is_ours:
            raise UserError(f"{out / name}: no promotion wrote it; choose another place with --out, or move it")


def against(config: PromoteConfig, metrics: Report, rival: str) -> list[Reason]:
    """What is asked of the primary arm against one rival, each with the number, its limit and whether it passed."""
    limits = {metrics["metric"]: config.min_gain} | {name: -loss for name, loss in config.max_loss.items()}
    reasons = []
    for name, limit in limits.items():
        found = metrics["differences"].get(rival, {}).get(name)
        mean, value = (found["mean"], found["low"]) if found else (None, None)
        passed = value is not None and value > limit
        reasons.append(_reason(f"{name} against {rival}", "the difference", mean, value, "be above", limit, passed))
    if config.min_win_rate is not None:
        judged = metrics["judge"].get(rival, {}).get(OVERALL)
        mean, value = (judged["win_rate"], judged["low"]) if judged else (None, None)
        passed = value is not None and value >= config.min_win_rate
        what = f"judge against {rival}"
        reasons.append(_reason(what, "the win rate", mean, value, "reach", config.min_win_rate, passed))
    return reasons


def losses(config: PromoteConfig, metrics: Report) -> list[Reason]:
    """Whether another arm that was trained is proven better on the report's metric: one reason, or one an arm."""
    metric, table = metrics["metric"], metrics["differences"]
    others = sorted(table.keys() - set(config.over))
    if config.not_worse is not None:
        others = [arm for arm in others if arm in config.not_worse]
    reasons: list[Reason] = []
    for arm in others:
        found = table[arm].get(metric)
        if found is None or found["high"] is None or found["high"] >= 0:
            continue
        high, mean = found["high"], found["mean"] or 0
        text = f"{metric} against {arm}: it lost to {arm} by {-mean:.3f} (the difference's upper end is {high:.3f})"
        reasons.append({"what": f"lost to {arm}", "value": high, "limit": 0.0, "passed": False, "text": text})
    if others and not reasons:
        text = f"{metric}: not proven worse than {', '.join(others)}"
        reasons.append({"what": "lost to nobody", "value": None, "limit": 0.0, "passed": True, "text": text})
    return reasons


def _reason(
    what: str, noun: str, mean: float | None, low: float | None, word: str, limit: float, passed: bool
) -> Reason:
    if low is None:
        known = "is not in the report" if mean is None else f"is {mean:.3f} without an interval"
        text = f"{what}: {noun} {known}, and its lower end must {word} {limit:g}"
    else:
        about = "" if mean is None else f"is {mean:.3f}, "
        text = f"{what}: {noun} {about}lower end {low:.3f}, which must {word} {limit:g}"
    return {"what": what, "value": low, "limit": limit, "passed": passed, "text": text}


def describe(facts: Promotion) -> str:
    """The decision in one line."""
    decision = "promoted" if facts["promoted"] else "not promoted"
    shown = [r["text"] for r in facts["reasons"] if facts["promoted"] or not r["passed"]]
    return f"{excerpt(facts['primary'], 60)}: {decision}; {'; '.join(shown)}"


def page(facts: Promotion) -> str:
    """The decision as Markdown."""
    lines = [f"{_HEADINGS[not facts['promoted']]}`{excerpt(facts['primary'], 60)}`", ""]
    lines += [f"- {'yes' if r['passed'] else '**no**'}: {excerpt(r['text'], 300)}" for r in facts["reasons"]]
    lines += ["", f"Report: `{facts['report_sha256']}`"]
    if facts["policy_sha256"]:
        lines.append(f"\nPolicy: `{facts['policy_sha256']}`")
    return "\n".join(lines) + "\n"
