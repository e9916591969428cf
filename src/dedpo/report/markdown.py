"""The report in brief, as markdown for a pull request or a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dedpo.html_pages import brief, percent
from dedpo.report.answer import bounds, number
from dedpo.report.content import Content
from dedpo.report.judged import criterion_title
from dedpo.report.methods import title
from dedpo.report.page import amount, duration, judge_sentence, money
from dedpo.report.summary import Estimate
from dedpo.report.training import MEASURES


def render(content: Content) -> str:
    """The answer, the table of methods, paired differences, labels, prompts shown, durations, commits."""
    parts = [
        f"# {_text(content.answer.headline)}",
        "\n\n".join(_text(line) for line in content.answer.fair),
        _facts(content),
        "\n".join(f"- {_text(note)}" for note in (*content.answer.notes, *content.warnings)),
        "## Methods",
        _methods(content),
        f"## {_text(title(content.primary))} minus each method",
        _differences(content),
        "## Judge",
        _judge(content),
        "## The annotator's bias",
        _bias(content),
        "## Labels",
        _labels(content),
        "## Prompts of the picture grid",
        "\n".join(f"- {_text(brief(row.prompt))}" for row in content.pictures) or "not available",
        "## Time and provenance",
        _provenance(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """`text` on one line, with nothing in it that markdown or HTML would act on: no markup, list, link or mention."""
    flat = " ".join(text.split())
    escaped = re.sub(r"([\\`*_{}\[\]#|~@$>])", r"\\\1", flat)
    escaped = re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)
    escaped = re.sub(r"(?i)(:)(?=//)|(?<=www)(\.)", r"\\\g<0>", escaped)
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(found: Estimate | None) -> str:
    if found is None:
        return "–"
    interval = bounds(found)
    return number(found.mean) if interval == "no interval" else f"{number(found.mean)} ({interval})"


def _facts(content: Content) -> str:
    return (
        f"Training seeds: {len(content.seeds)}; prompts: {content.prompts}; sampling seeds: {content.sampling_seeds}; "
        f"95 % intervals {content.interval}. The primary arm is the one that the settings name."
    )


def _methods(content: Content) -> str:
    head = ["method", *map(_text, content.metrics), *map(_text, MEASURES.values())]
    rows = []
    for method in content.methods:
        scores = [_cell(content.means[method.name].get(metric)) for metric in content.metrics]
        measured = [_cell(content.policies[method.name].get(measure)) for measure in MEASURES]
        rows.append([_text(method.title), *scores, *measured])
    return _table(head, rows)


def _differences(content: Content) -> str:
    rows = []
    for method in content.methods:
        if found := content.differences.get(method.name):
            wins = content.wins[content.primary].get(method.name)
            rows.append([_text(method.title), *(_cell(found.get(m)) for m in content.metrics), _cell(wins)])
    return _table(["against", *map(_text, content.metrics), f"win rate on {_text(content.metric)}"], rows)


def _labels(content: Content) -> str:
    draws = content.worth.get(content.primary)
    if not draws:
        return "not available"
    rows = []
    for seed, w in draws.items():
        value, low, high = (percent(v) for v in (w["accuracy"]["value"], w["accuracy"]["low"], w["accuracy"]["high"]))
        accuracy = "–" if w["accuracy"]["value"] is None else f"{value} ({low} to {high})"
        counts = f"{w['n_labelled']:,}", f"{w['n']:,}"
        rows.append([str(seed), *counts, accuracy, f"{w['power']:.2f}", amount(w["n_eff"])])
    table = _table(["training seed", "labelled", "pairs", "annotator's accuracy", "λ", r"n\_eff"], rows)
    note = rf"n\_eff: so many human labels alone would give a gradient as precise, at {content.n_eff_at}."
    return f"{table}\n\n{note}"


def _judge(content: Content) -> str:
    if content.judged is None:
        return "not available"
    rows = [
        [_text(title(rival)), _text(criterion_title(name)), *map(_share, shares), f"{shares.rate.n:,}"]
        for rival, criteria in content.judged.rivals.items()
        for name, shares in criteria.items()
    ]
    table = _table(["against", "criterion", "win", "tie", "loss", "win rate, ties half", "n"], rows)
    return f"{_text(judge_sentence(content))}\n\n{table}"


def _share(found: Estimate) -> str:
    return f"{percent(found.mean)} ({percent(found.low)} to {percent(found.high)})" if found.n else "–"


def _bias(content: Content) -> str:
    if content.bias is None:
        return "not available"
    where = f"\n\nThe whole bias report: {_text(content.bias_page)}" if content.bias_page else ""
    return f"{_text(content.bias.headline)}{where}"


def _provenance(content: Content) -> str:
    times = ", ".join(f"{_text(d.stage)} {duration(d.seconds)}" for d in content.costs)
    asked = "; ".join(
        f"{_text(d.stage)} {amount(d.requests)} requests, {amount(d.input_tokens)} + {amount(d.output_tokens)} tokens, "
        f"{money(d.dollars)}"
        for d in content.costs
        if d.requests is not None
    )
    commits = ", ".join(map(_text, content.provenance.commits))
    return (
        f"- time: {times or 'not available'}\n- asked: {asked or 'not available'}\n"
        f"- data revision: {_text(content.provenance.revision or 'not available')}\n"
        f"- git commit: {commits or 'not available'}"
    )
