"""What an import asks its user when it has seen all rows: is this coding meant, are these sides the right way round?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from dedpo.data.importing.distinct_pairs import Merged, Rating
from dedpo.data.importing.row_reader import UNREAD
from dedpo.data.layouts import hpdv2
from dedpo.errors import UserError, excerpt
from dedpo.stats.agreement import against_others, choices, is_reversed
from dedpo.stats.arrays import numbered
from dedpo.tabular import recognition

_LABEL: Final = re.compile(
    r"prefer|win|chosen|reject|select|pick|favou?r|label|vote|choice|rank|rating|score|better|best|judg|verdict|human"
    r"|pref\b|answer|annotation|result|target|decision|\bgt\b|^y$",
    re.IGNORECASE,
)
# All choices on one side are nothing special below this number.
_MANY: Final = 20


def refuse_coding(merged: Merged, place: str) -> None:
    """Refuse labels without a meaning that are no slips; a coding that begins late in a stream is found only here.

    Raises:
        UserError: it lists them.
    """
    labels = len(merged.ratings) + merged.duplicates
    lists = Counter(row.detail for row in merged.set_aside if row.reason == hpdv2.NO_CHOICE)
    if recognition.is_systematic(lists, lists.total() + labels):
        told = ", ".join(f"{value} ({n:,}×)" for value, n in lists.most_common(6))
        raise UserError(f"{place}: {hpdv2.NO_CHOICE}: {told}; correct these entries, or take them out")
    unread = Counter(row.detail for row in merged.set_aside if row.reason in UNREAD)
    if recognition.is_systematic(unread, unread.total() + labels):
        raise UserError(recognition.refusal(unread, f"{place}: preferences"))


def warnings(merged: Merged, ignored: Sequence[str]) -> list[str]:
    """What a user should look at before going on, each in a sentence."""
    if not merged.ratings:
        names = [name for name in ignored if _LABEL.search(name)]
        if not names:
            return []
        listed = excerpt(", ".join(names), 200)
        return [f"0 ratings: columns that may be labels were not read: {listed}; name one with --preference"]
    return [*_one_sided(merged.ratings), *_reversed(merged.ratings)]


def _one_sided(ratings: Sequence[Rating]) -> list[str]:
    made = Counter(choices(np.array([r.preference for r in ratings])).tolist())
    decided = made[0] + made[2]
    if decided < _MANY or (made[0] and made[2]):
        return []
    side = 0 if made[0] else 1
    return [
        f"all {decided:,} ratings that decide prefer image_{side}: if the columns say which image is the better one, "
        "import with --chosen and --rejected, which draws the sides"
    ]


def _reversed(ratings: Sequence[Rating]) -> list[str]:
    _, rows = numbered(r.pair_id for r in ratings)
    names, by = numbered(r.rater for r in ratings)
    same, decided = against_others(rows, by, np.array([r.preference for r in ratings]))
    among = int((decided > 0).sum())
    found = sorted(
        (i for i in range(len(names)) if is_reversed(same[i], int(decided[i]), among)), key=lambda i: -decided[i]
    )
    if not found:
        return []
    i = found[0]
    more = f", and {len(found) - 1} more raters" if len(found) > 1 else ""
    return [
        f"rater '{excerpt(names[i], 60)}' sides with the others on {same[i]} of {decided[i]} pairs{more}, far below "
        "chance: their preferences may be the other way round; if they are, turn these rows round, or leave them out "
        "(--first and --second would turn everybody's)"
    ]
