"""The methods that are compared: their order on a page, their titles and their colours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from dedpo.errors import UserError

REFERENCE: Final = "reference"


class Method(NamedTuple):
    """How a method is shown; `colour` reads on white and on near-black, and with colour-blind eyes."""

    name: str
    title: str
    colour: str


_KNOWN: Final = (
    Method(REFERENCE, "Reference", "#8b9099"),
    Method("sft", "SFT", "#a67c52"),
    Method("dpo_human", "DPO human", "#2f7fd1"),
    Method("dpo_all_human", "DPO all-human", "#5bb5e8"),
    Method("dpo_synthetic", "DPO + synthetic", "#e0651b"),
    Method("dpo_synthetic_split", "DPO + synthetic split", "#e3a21a"),
    Method("cdpo", "Conservative DPO", "#7a6fd0"),
    Method("rdpo", "Robust DPO", "#6f8f2f"),
    Method("self_training", "Self-training", "#4f8f96"),
    Method("self_training_split", "Self-training split", "#9a7b1e"),
    Method("dedpo", "DeDPO", "#1fa37a"),
    Method("dedpo_tuned", "DeDPO tuned", "#c2327f"),
    Method("dedpo_ipo", "DeDPO IPO", "#b0564e"),
)
_OTHERS: Final = ("#5d78c9", "#a0628f", "#3f8f5f", "#b07a3a")
# As narrow as sampling's file names: the arm becomes part of a path.
_MODEL: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*(?:@\d+)?)-(\d+)")


def shown(names: Iterable[str]) -> list[Method]:
    """Each name as a method: the known ones in the page's order, then unknown arms by name."""
    present = set(names)
    known = [m for m in _KNOWN if m.name in present]
    unknown = sorted(present - {m.name for m in _KNOWN})
    return known + [Method(name, name, _OTHERS[i % len(_OTHERS)]) for i, name in enumerate(unknown)]


def title(name: str) -> str:
    """A method's name as shown."""
    return shown([name])[0].title


def is_snapshot(method: str) -> bool:
    """Whether a method is '<arm>@<steps>': an arm after some of its steps."""
    return "@" in method


def at_step(method: str, arm: str, last: int | None = None) -> int | None:
    """How many steps `method` has taken of those of `arm`: the number behind '@', `last` for the arm itself."""
    name, _, steps = method.partition("@")
    if name != arm:
        return None
    return int(steps) if steps else last


def parse_model(model: str) -> tuple[str, int | None]:
    """'<arm>-<training seed>' as (arm, seed), '<arm>@<steps>-<training seed>' likewise; 'reference' has no seed.

    Raises:
        UserError: neither.
    """
    if model == REFERENCE:
        return model, None
    match = _MODEL.fullmatch(model)
    if match is None:
        raise UserError(
            f"scores: model {model[:80]!r} is neither '{REFERENCE}' nor '<arm>-<training seed>'; sample it again "
            "under such a name"
        )
    return match.group(1), int(match.group(2))
