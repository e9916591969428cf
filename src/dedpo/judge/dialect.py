"""How a question is put to one server: with everything at first, then without what it does not take. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from dedpo.contract.sections import JudgeConfig
from dedpo.judge import templates
from dedpo.judge.templates import Question

# A hostile prompt cannot make an answer dear.
ANSWER_LIMIT: Final = 1024  # tokens

_UNKNOWN: Final = (
    r"unknown|cannot find field|unsupported|unrecogni[sz]ed|unexpected|extra|additional propert"
    r"|(?:not|n't) (?:\w+ )?(?:support|enabled|permitted|allowed|available|accept|have|a valid field|be specified)"
)
# Field of Dialect → the names that refusals have for it, and what is said when it is given up.
_FIELDS: Final = {
    "thinking": (
        r"think|thought|reasoning",
        "no word about thinking (judge.thinking_budget): it thinks as it likes, if at all",
    ),
    "limit": (r"max_?output_?tokens", "no limit of tokens"),
    "temperature": (r"temperature", "no temperature"),
    "form": (
        r"json[ _]mode|response[ _]?mime[ _]?type|response[ _]?(?:json[ _]?)?schema|property_?ordering"
        r"|controlled[ _]generation"
        r"|(?:system|developer)[ _]?(?:instruction|role|prompt|message)",
        "the instructions and the form of the answer in words",
    ),
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is sent beside the question: the thinking budget, a limit of tokens, the temperature, and instructions and
    schema in fields of their own (`form`; else both stand in the question)."""

    thinking: bool = True
    limit: bool = True
    temperature: bool = True
    form: bool = True

    def without(self, said: str) -> Dialect:
        """This dialect without what a refusal says that the server does not take; the same if it names nothing."""
        text = said.casefold()
        # A limit that is too high is refused by its range.
        if not re.search(rf"{_UNKNOWN}|max_?output_?tokens", text):
            return self
        named = [name for name, (pattern, _) in _FIELDS.items() if getattr(self, name) and re.search(pattern, text)]
        return replace(self, **dict.fromkeys(named, False))

    def given_up(self, before: Dialect) -> str:
        """In words, what is sent no longer."""
        return "; ".join(
            told for name, (_, told) in _FIELDS.items() if getattr(before, name) and not getattr(self, name)
        )


def settings(config: JudgeConfig, dialect: Dialect) -> dict[str, Any]:
    """A GenerateContentConfig of the Gemini API."""
    found: dict[str, Any] = {}
    if dialect.form:
        found |= {
            "system_instruction": templates.SYSTEM,
            "response_mime_type": "application/json",
            "response_schema": templates.SCHEMA,
        }
    if dialect.temperature:
        found["temperature"] = 0
    if limit := token_limit(config, dialect):
        found["max_output_tokens"] = limit
    if dialect.thinking and (thinking := _thinking(config)):
        found["thinking_config"] = thinking
    return found


def token_limit(config: JudgeConfig, dialect: Dialect) -> int | None:
    """Tokens of thought and answer together; None: as many as the server likes."""
    budget = config.thinking_budget
    is_bounded = budget is not None and budget >= 0 and config.thinking_level is None
    return ANSWER_LIMIT + (budget or 0) if is_bounded and dialect.limit else None


def _thinking(config: JudgeConfig) -> dict[str, Any]:
    if config.thinking_level is not None:
        return {"thinking_level": config.thinking_level.upper()}
    return {} if config.thinking_budget is None else {"thinking_budget": config.thinking_budget}


def parts(question: Question, dialect: Dialect) -> list[str | bytes]:
    """Texts and the two pictures in the order shown."""
    found = templates.parts(*question)
    return found if dialect.form else [f"{templates.SYSTEM}\n{templates.FORM}", *found]
