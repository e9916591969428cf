"""One question with a known answer, as doctor and preflight put it, at servers of every kind."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from dedpo.cli import machine
from dedpo.contract.config import Config
from dedpo.contract.sections import JudgeConfig, LabelConfig
from dedpo.errors import UserError
from dedpo.label import probe
from tests.label import dialects as spoken
from tests.label.dialects import Body, Server, error, says, speaking


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def ask(server: Server, seconds: float = 30) -> tuple[bool, str, int]:
    """Whether it was right, what is shown, and how many answers were paid for."""
    with speaking(server) as (url, seen):
        answered = probe.ask(LabelConfig(base_url=url, model="biased-vlm"), seconds)
    return answered.is_right, answered.detail, sum(status < 400 for _, status in seen)


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        (spoken.vllm, "not told of the probability"),
        (spoken.openai, "0.99 of the probability"),
        (spoken.sglang, "0.98 of the probability"),
        (spoken.mistral, "preferences will be 0 or 1"),
        (spoken.gemini, "preferences will be 0 or 1"),
        (spoken.gpt5, "it thinks or speaks before it answers|preferences will be 0 or 1"),
        (spoken.gemma, "it takes no system message"),
        (spoken.chatty, "prefers the second picture"),
    ],
)
def test_reading_mass_and_seconds_are_shown_for_one_answer(server: Server, shown: str) -> None:
    is_right, detail, paid = ask(server)
    assert (is_right, paid) == (True, 1)
    assert detail.startswith("prefers the second picture (P = ")
    assert " s)" in detail
    assert any(part in detail for part in shown.split("|"))


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        (spoken.old_vllm, "tries other fields"),
        (spoken.unparsed, "room to think"),
        (spoken.parsed, "room to think"),
        (spoken.silent_thinker, "room to think"),
        (spoken.long_chatty, "tries other fields"),
    ],
)
def test_what_label_would_find_out_by_a_second_answer_is_said_for_one(server: Server, shown: str) -> None:
    is_right, detail, paid = ask(server)
    assert (is_right, paid) == (False, 1)
    assert shown in detail


def test_a_model_that_takes_the_first_is_suspected() -> None:
    is_right, detail, paid = ask(lambda _: says("A"))
    assert (is_right, paid) == (False, 1)
    assert "may not look at pictures" in detail


def test_a_busy_server_is_waited_for_as_long_as_there_is_time() -> None:
    def busy(_: Body) -> Response:
        return error(503, "Loading model", {"retry-after-ms": "20"})

    is_right, detail, paid = ask(busy, seconds=0.4)
    assert (is_right, paid) == (False, 0)
    assert "no answer to one question within 0.4 s" in detail or "HTTP 503: Loading model" in detail


def test_doctor_shows_it_in_a_line() -> None:
    settings = {"base_url": "", "model": "biased-vlm"}
    for server, state, shown in (
        (spoken.openai, "ok", "prefers the second picture"),
        (spoken.unparsed, "note", "room to think"),
        (lambda _: error(401, "Incorrect API key"), "missing", "put $OPENAI_API_KEY right"),
    ):
        with speaking(server) as (url, seen):
            config = Config(label=LabelConfig(**settings | {"base_url": url}), judge=JudgeConfig(model=None))
            found = {finding.what: finding for finding in machine._endpoints(config)}
        assert found["annotator's answer"].state == state
        assert shown in found["annotator's answer"].detail
        assert sum(status < 400 for _, status in seen) <= 1
    found = {finding.what: finding for finding in machine._endpoints(Config(judge=JudgeConfig(model=None)))}
    assert "annotator's answer" not in found


def test_an_answer_that_a_run_would_not_wait_for_names_the_setting() -> None:
    with speaking(spoken.openai) as (url, _):
        answered = probe.ask(LabelConfig(base_url=url, timeout=1e-6))
    assert not answered.is_right
    assert "prefers the second picture" in answered.detail
    assert "a run waits for 1e-06 s: raise label.timeout" in answered.detail


def test_doctor_names_a_key_that_no_header_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-long-one-1\nsk-another-2")
    with speaking(spoken.openai) as (url, seen):
        config = Config(label=LabelConfig(base_url=url), judge=JudgeConfig(model=None))
        found = {finding.what: finding for finding in machine._endpoints(config)}
    assert found["annotator"].detail == "$OPENAI_API_KEY: holds characters that a key cannot have; copy it again"
    assert seen == []


def test_what_would_end_a_run_is_raised() -> None:
    with pytest.raises(UserError, match="takes one picture"):
        ask(lambda _: error(400, "At most 1 image(s) may be provided in one request."))
