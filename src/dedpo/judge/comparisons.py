"""Which pictures are compared, and which of the two is shown first: pure functions of names and a seed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dedpo.errors import UserError
from dedpo.judge.templates import FIRST, TIE
from dedpo.rng import generator

REFERENCE: Final = "reference"
ORDERS: Final = ("01", "10")
# The pictures that a model has: (prompt_id, sampling seed).
Cells = Collection[tuple[str, int]]
Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' pictures for one prompt from one sampling seed.

    `order` is '01' where model_0's picture is shown first, else '10'.
    """

    model_0: str
    model_1: str
    prompt_id: str
    seed: int
    order: str

    @property
    def key(self) -> Key:
        return self.model_0, self.model_1, self.prompt_id, self.seed

    @property
    def shown(self) -> tuple[str, str]:
        """The models in the order shown."""
        return (self.model_0, self.model_1) if self.order == "01" else (self.model_1, self.model_0)


def winner(choice: str, order: str) -> str:
    """'0', '1' or 'tie': the model, whatever the order in which 'first' or 'second' was shown."""
    if choice == TIE:
        return TIE
    return order[0] if choice == FIRST else order[1]


def against(
    primary: str, rivals: Sequence[str], arms: Collection[str], seed: int
) -> tuple[list[tuple[str, str]], list[str]]:
    """(rival, primary) as models of one training seed, and the rivals that are left out: no arms, or the primary.

    Raises:
        UserError: nobody is left to compare with.
    """
    known = [r for r in dict.fromkeys(rivals) if r != primary and (r == REFERENCE or r in arms)]
    left_out = [r for r in dict.fromkeys(rivals) if r not in known]
    if not known:
        raise UserError(
            f"judge.rivals: none of {', '.join(rivals)} can be compared with '{primary}'; name '{REFERENCE}' or "
            f"others of the arms {', '.join(arms)}"
        )
    return [(r if r == REFERENCE else f"{r}-{seed}", f"{primary}-{seed}") for r in known], left_out


def choose(
    models: Sequence[tuple[str, str]], pictures: Mapping[str, Cells], prompts: int, seed: int
) -> list[Comparison]:
    """The comparisons of every pair: the same prompts for all, at the lowest sampling seed that all models share.

    Prompts and orders are random, and each model is shown first equally often (±1) whatever the judge's lean. What is
    drawn for one prompt hardly depends on the others, so that verdicts can be kept: more of the prompts, or others
    beside them, begin with the same ones, and a prompt more changes the order of at most one.

    Args:
        pictures: by model.
        prompts: how many to draw; all, if fewer are shared.

    Raises:
        UserError: a pair names one model twice or one without pictures, or no prompt has a picture of every model.
    """
    cells = _shared(models, pictures)
    drawn = _shuffled(cells, "judge prompts", seed)[:prompts]
    found = []
    for model_0, model_1 in dict.fromkeys(models):
        orders = _orders(model_0, model_1, drawn, seed)
        found += [Comparison(model_0, model_1, p, cells[p], orders[p]) for p in drawn]
    return found


def _shared(models: Sequence[tuple[str, str]], pictures: Mapping[str, Cells]) -> dict[str, int]:
    """prompt_id → the lowest sampling seed at which every model has a picture."""
    if not models:
        raise UserError("judge: no models to compare; name rivals in judge.rivals")
    names = list(dict.fromkeys(name for pair in models for name in pair))
    for model_0, model_1 in models:
        if model_0 == model_1:
            raise UserError(f"judge: '{model_0}' would be compared with itself; name another rival in judge.rivals")
    for name in names:
        if name not in pictures:
            raise UserError(
                f"judge: no samples of model '{name}', only of {', '.join(sorted(pictures))}; sample it first, or put "
                "primary and judge.rivals right"
            )
    common = set.intersection(*(set(pictures[name]) for name in names))
    if not common:
        raise UserError(f"judge: no prompt has a picture of each of {', '.join(names)}; sample them all again")
    # Descending, so that the lowest seed of a prompt is the one that stays.
    return dict(sorted(common, reverse=True))


def _shuffled(prompt_ids: Iterable[str], *stream: str | int) -> list[str]:
    """In random order, in which any two stand as they would without the others."""
    return sorted(prompt_ids, key=lambda prompt_id: (generator(*stream, prompt_id).random(), prompt_id))


def _orders(model_0: str, model_1: str, prompt_ids: Sequence[str], seed: int) -> dict[str, str]:
    """By prompt_id: one order for the first half of a shuffle, the other for the second; of the odd one a coin."""
    stream = ("judge order", seed, model_0, model_1)
    half = (len(prompt_ids) + int(generator(*stream).integers(0, 2))) // 2
    return {p: ORDERS[i >= half] for i, p in enumerate(_shuffled(prompt_ids, *stream))}
