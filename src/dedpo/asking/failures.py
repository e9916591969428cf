"""How often an annotator or a judge failed to answer, and when to give up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dedpo.errors import UserError

# Failed answers in a row after which a run that cannot succeed any more is given up.
HOPELESS_AFTER: Final = 20


@dataclass
class Tally:
    """Failures of this run, and whether it can still succeed.

    `stage` is the section whose max_failures was given, `units` what fails ('pairs') and `total` how many there are.
    """

    stage: str
    units: str
    max_failures: float
    total: int
    has_success: bool = False
    _failed: set[Hashable] = field(default_factory=set)
    _errors: Counter[str] = field(default_factory=Counter)
    _example: dict[str, str] = field(default_factory=dict)
    _advice: dict[str, str] = field(default_factory=dict)
    _in_a_row: int = 0
    _counted: int = 0

    def count(self, unit: Hashable, error: str | None, advice: str = "") -> None:
        """Take one more answer about `unit` into account; `advice` says what helps if many fail like this one."""
        self._counted += 1
        if error is None:
            self.has_success = True
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._failed.add(unit)
        kind = reason(error)
        self._errors[kind] += 1
        self._example.setdefault(kind, error)
        self._advice.setdefault(kind, advice)

    @property
    def failed(self) -> int:
        """Units that lack an answer."""
        return len(self._failed)

    @property
    def _is_exceeded(self) -> bool:
        return self.failed > self.max_failures * self.total

    @property
    def is_hopeless(self) -> bool:
        """No use to go on: mostly failures, or nothing else for a while in a run that has failed too often already."""
        is_lost = not self.has_success or self._is_exceeded
        return self._is_mostly_lost or (is_lost and self._in_a_row >= HOPELESS_AFTER)

    @property
    def _is_mostly_lost(self) -> bool:
        # So large a share is no matter of single questions, and the rest would cost as much as the first.
        share = max(0.5, self.max_failures)
        return self._counted >= HOPELESS_AFTER and self._errors.total() > share * self._counted

    def check(self, log: Path) -> None:
        """Refuse to go on with what was answered, all of which is in the folder `log`.

        Raises:
            UserError: more failures than allowed, or a run that was given up.
        """
        if not self._is_exceeded and not self.is_hopeless:
            return
        kind, times = self._errors.most_common(1)[0]
        given_up = f", given up after {self._counted} answers" if self._is_mostly_lost else ""
        if self.is_hopeless and self._in_a_row >= HOPELESS_AFTER:
            given_up = f", given up after {self._in_a_row} failures in a row"
        advice = f"; {self._advice[kind]}" if self._advice[kind] else ""
        raise UserError(
            f"{self.stage}: {self.failed} of {self.total} {self.units} got no answer{given_up} "
            f"({self.stage}.max_failures allows {self.max_failures:.1%}), most often ({times}×): "
            f"{self._example[kind]}{advice}; what was answered is kept in {log}: run again to go on, or raise "
            f"{self.stage}.max_failures"
        )


def counted(errors: Iterable[str | None]) -> Counter[str]:
    """How many of these are errors, by `reason`."""
    return Counter(reason(error) for error in errors if error is not None)


def reason(error: str) -> str:
    """The kind of an error: what stands before the details."""
    return error.split(": ", 1)[0]
