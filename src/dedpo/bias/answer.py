"""The one sentence that the page exists for, from the facts of bias.json, and how numbers are written."""

from __future__ import annotations

from typing import Final

from dedpo.contract.records.bias import Agreement, Analysis, Weight, Word
from dedpo.contract.records.intervals import Bounded
from dedpo.errors import excerpt
from dedpo.html_pages import percent
from dedpo.stats.agreement import REVERSED
from dedpo.vision.covariates import COMPARATIVES

NAMED: Final = 3  # words in the sentence


def headline(facts: Analysis) -> str:
    """Name the words and the property, or say that none stands out, no more surely than the tests allow."""
    found, name = facts["agreement"], excerpt(facts["annotator"], 60)
    if found is None:
        return f"Nothing can be said about {name}: no pair has both a human preference and its answer."
    guilty = guilty_words(facts)
    if not guilty:
        return f"{name} agrees with people on {_whole(found, facts)}; {_no_word(facts)}{_property(facts, None)}."
    worst = guilty[0]
    named = _listed([f"“{w['word']}”" for w in guilty[:NAMED]])
    more = f" and {len(guilty) - NAMED} more words" if len(guilty) > NAMED else ""
    which = " the first of these" if len(guilty) > 1 else " them"
    return (
        f"{name} errs on prompts with {named}{more}: it agrees with people on {percent(1 - worst['disagreement'])} of"
        f"{which} and on {percent(1 - worst['disagreement_without'])} of the others{_property(facts, worst['word'])}."
    )


def guilty_words(facts: Analysis) -> list[Word]:
    """Flagged words on which there is more disagreement than elsewhere, the guiltiest first."""
    return [w for w in facts["words"] if w["flagged"] and w["lift"] > 0]


def verdict(facts: Analysis) -> str:
    """'no answer', 'biased' (a word, or a property not merely weighed less, is flagged) or 'no pattern found'."""
    if facts["agreement"] is None:
        return "no answer"
    turned = any(p["flagged"] and kind(p) != "less" for p in facts["properties"])
    return "biased" if guilty_words(facts) or turned else "no pattern found"


def turned(facts: Analysis, remedy: str) -> str | None:
    """That one side may be the other way round, with the numbers and the remedy; None if nothing says so."""
    decided = facts["agreement"]["decided"] if facts["agreement"] else None
    if not decided or decided["high"] is None or decided["high"] >= REVERSED:
        return None
    return (
        f"where neither ties, {excerpt(facts['annotator'], 60)} and people agree on {decided['value']:.3f} "
        f"({decided['low']:.3f} to {decided['high']:.3f}) of {decided['n']:,} pairs, far below chance: one of them may "
        f"be the other way round; {remedy}"
    )


def _whole(found: Agreement, facts: Analysis) -> str:
    text = f"{percent(found['value'])} of {found['n']:,} pairs ({bounds(found)})"
    people = facts["ceiling"]
    return f"{text}, where two people agree on {percent(people['value'])}" if people else text


def _no_word(facts: Analysis) -> str:
    return "no prompt word marks where it errs" if facts["words"] else "prompt words could not be tested"


def _property(facts: Analysis, word: str | None) -> str:
    """What it makes of the property that differs most, as the sentence's last clause."""
    flagged = [p for p in facts["properties"] if p["flagged"] and p["where"] == word and (word or kind(p) != "less")]
    if not flagged:
        return ""
    worst = max(flagged, key=lambda p: abs(p["difference"]))
    return f"; {'there ' if word else ''}it {leaning(worst)}"


def kind(row: Weight) -> str:
    """How an annotator's weight of a property differs from people's: 'opposite', 'alone', 'more' or 'less'.

    'less' is no sign of bias, since errors at random shrink every weight; any other takes an annotator's weight whose
    own interval excludes 0. 'alone': people hardly care (their weight is less than a quarter of the difference).
    """
    human, annotator = row["human"], row["annotator"]
    if row["annotator_low"] <= 0 <= row["annotator_high"]:
        return "less"
    if abs(human) < abs(row["difference"]) / 4:
        return "alone"
    if human * annotator < 0:
        return "opposite"
    return "more" if abs(annotator) > abs(human) else "less"


def leaning(row: Weight) -> str:
    """'prefers the softer image where people prefer the sharper (sharpness)', from the two weights of a property."""
    name = row["property"]
    more, less = COMPARATIVES[name]
    mine, theirs = (more if row[side] > 0 else less for side in ("annotator", "human"))
    return {
        "opposite": f"prefers the {mine} image where people prefer the {theirs} ({name})",
        "alone": f"prefers the {mine} image where people hardly care ({name})",
        "more": f"prefers the {mine} image more strongly than people do ({name})",
        "less": f"cares less than people do for the {theirs} image ({name})",
    }[kind(row)]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, signed: '+12'; '–' for None."""
    return "–" if value is None else f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0").replace("−0", "0")


def bounds(found: Bounded) -> str:
    """'83 % to 86 %', or 'no interval'."""
    if found["low"] is None or found["high"] is None:
        return "no interval"
    return f"{percent(found['low'])} to {percent(found['high'])}"


def number(value: float | None, decimals: int = 3) -> str:
    """A number with a true minus sign; '–' for None."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def chance(value: float | None) -> str:
    """A p-value: '0.031', or '< 0.001'."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
