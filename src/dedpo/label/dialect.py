"""The fields of a request beside model and messages, narrowed by what an endpoint refuses: no connection, no disk.

    dialect = Dialect(("A", "B"), request={"temperature": None})
    sent = dialect.fields                    # put a question with these
    if dialect.heed(sent, refusal): …        # refused: ask again, with dialect.fields
    if dialect.make_room(sent, "thought"): … # answered, but with no answer: ask again
    dialect.losses                           # what to tell the user, once

The workers of a run share one: where another has learnt already, `heed` and `make_room` only say 'ask again'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dedpo.errors import UserError
from dedpo.label.refusal import Refusal
from dedpo.label.reply import Why

TOP_LOGPROBS: Final = 20
# A thought about two pictures takes some hundred tokens; what is not used costs nothing.
ROOM: Final = 2048  # tokens
# Enough for a letter in its dress and the token that ends the turn: what was cut may go on to say the opposite. Some
# services refuse a lower limit.
LEAST_LIMIT: Final = 16
LIMITS: Final = ("max_tokens", "max_completion_tokens")
CONSTRAINTS: Final = (
    "structured_outputs", "guided_choice", "guided_regex", "guided_json", "guided_grammar", "guided_decoding", "regex",
    "ebnf", "grammar", "json_schema", "response_format",
)  # fmt: skip
# Fields that say how an answer comes, and not what is asked: with other values an answer stays an answer.
HOW: Final = frozenset({*LIMITS, *CONSTRAINTS, "logprobs", "top_logprobs"})
# A mass that only a constraint gives; logits of half precision leave the rest.
WHOLE: Final = 0.999
NO_LOGPROBS: Final = "it gives no logprobs: preferences will be 0 or 1"


class Dialect:
    """What one endpoint takes, as far as it is known."""

    def __init__(self, choices: tuple[str, str], request: Mapping[str, Any]) -> None:
        """Begin with everything that vLLM takes, and with what the user says: a value, or None for 'not sent'."""
        self._choices = list(choices)
        self._fixed = frozenset(request)
        fields: dict[str, Any] = {
            "max_tokens": LEAST_LIMIT,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
            "structured_outputs": {"choice": self._choices},
        }
        for group in (LIMITS, CONSTRAINTS):
            if self._fixed & set(group):
                fields = {name: value for name, value in fields.items() if name not in group}
        if "logprobs" in request and not request["logprobs"]:
            fields.pop("top_logprobs")
        fields |= request
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.losses: list[str] = []
        self.has_system_role = True
        self._tried: set[str] = {name for name in LIMITS if name in self.fields}
        # None: not known; False: a letter had less than all of the mass, so it was given freely.
        self._is_heeded: bool | None = None

    def measured(self, mass: float | None) -> float | None:
        """The mass of a good answer, or None where a constraint has made it 1 whatever the model thinks."""
        if mass is None or not any(name in self.fields for name in CONSTRAINTS):
            return mass
        self._is_heeded = self._is_heeded is not False and mass > WHOLE
        return None if self._is_heeded else mass

    def note(self, loss: str) -> None:
        """Add to what is given up."""
        if loss not in self.losses:
            self.losses.append(loss)

    def heed(self, sent: Mapping[str, Any], refusal: Refusal, *, with_system_role: bool = True) -> bool:
        """Drop or replace what was refused; whether to ask again.

        Args:
            sent: the fields that the refused request had.
            with_system_role: whether it had a message of the role 'system'.

        Raises:
            UserError: it is a field that label.request sets.
        """
        if self.fields != sent or self.has_system_role != with_system_role:
            return True
        named = refusal.named(sent)
        if set(CONSTRAINTS) & named and {"logprobs", "top_logprobs"} & named and not refusal.is_unknown:
            named &= set(CONSTRAINTS)  # the two together are too much: a free answer with its probabilities says more
        if fixed := sorted(named & self._fixed):
            raise UserError(f"label.request: the endpoint refuses '{fixed[0]}' ({refusal.said[:160]}); change it there")
        before = dict(self.fields)
        for name in sorted(named):
            if name in LIMITS:
                self._change_limit(name, refusal)
            elif name in ("logprobs", "top_logprobs"):
                self._change_logprobs(named, refusal)
            else:
                self.fields.pop(name, None)
                self.note(f"it takes no {name}")
        if self.fields == before and not named and refusal.kind == "system role" and self.has_system_role:
            self.has_system_role = False
            self.note("it takes no system message: its text begins the question")
            return True
        return self.fields != before

    def _change_limit(self, name: str, refusal: Refusal) -> None:
        value = int(self.fields.pop(name))
        least, most = refusal.at_least(above=value), refusal.at_most(below=value)
        other = next(n for n in LIMITS if n != name)
        if refusal.speaks_of(r"limit was reached|higher max_?tokens|try again with higher|increase max"):
            # Whoever is not done with four times the room is asked no more: some bill the thought all the same.
            self.fields[name] = ROOM if value < ROOM else max(value, 4 * ROOM)
        elif least is not None or (value < LEAST_LIMIT and refusal.speaks_of(r"below.{0,20}minimum|too (?:small|low)")):
            self.fields[name] = least or LEAST_LIMIT
        elif value > LEAST_LIMIT and (most or refusal.speaks_of(r"too (?:large|high|big)|exceed|context length")):
            self.fields[name] = most or value // 2
        elif other not in self._tried:
            self._tried.add(other)
            self.fields[other] = value
        else:
            self.note("it takes no limit of tokens")

    def _change_logprobs(self, named: set[str], refusal: Refusal) -> None:
        is_number = self.fields.get("logprobs") not in (None, True, False)
        top = int(self.fields.get("logprobs" if is_number else "top_logprobs", 0))
        most = refusal.at_most(below=top)
        is_value = refusal.speaks_of(r"too (?:large|high|many|big)|exceed|greater than|out of range|less than|must be")
        if self.fields.get("logprobs") is True and refusal.speaks_of(
            r"(?:valid|an?|type|input|as) (?:integer|int|number)"
        ):
            # The older form: one number, which says how many.
            self.fields["logprobs"] = self.fields.pop("top_logprobs", 1)
        elif most is not None:
            self.fields["logprobs" if is_number else "top_logprobs"] = most
        elif "logprobs" not in named and is_value and top > 5:
            self.fields["top_logprobs"] = 5
        elif "logprobs" not in named:
            self.fields.pop("top_logprobs", None)
            self.note("it takes no top_logprobs: only the probability of the letter said is known")
        elif "logprobs" in self.fields:
            self.fields.pop("logprobs")
            self.fields.pop("top_logprobs", None)
            self.note(NO_LOGPROBS)

    def make_room(self, sent: Mapping[str, Any], why: Why) -> bool:
        """After an answer without an answer: another constraint, or room to think or speak; whether to ask again."""
        if self.fields != sent:
            return True
        is_free = not self._fixed & set(CONSTRAINTS)
        if why in ("cut", "no letter") and is_free and not self._is_heeded and "structured_outputs" in self.fields:
            # vLLM before 0.11 ignores the one and knows the other.
            self.fields.pop("structured_outputs")
            self.fields["guided_choice"] = self._choices
            return True
        limit = next((name for name in LIMITS if name in self.fields), None)
        if why not in ("cut", "thought") or limit is None or limit in self._fixed or self.fields[limit] >= ROOM:
            return False
        if why == "cut" and self.fields.pop("guided_choice", None):
            self.note("it heeds no constraint: letters are read out of what it says")
        self.fields[limit] = ROOM
        self.note(f"it thinks or speaks before it answers: up to {ROOM} tokens a question")
        return True
