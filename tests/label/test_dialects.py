"""`dedpo label` against the servers of dialects.py: the plain server's labels, or one line that says what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from dedpo.asking import patience
from dedpo.contract import tables
from dedpo.errors import UserError
from dedpo.label import stage
from tests.label import dialects as spoken
from tests.label.dialects import Body, Server, error, letter, says, speaking
from tests.label.test_stage import drawn, labels, png, settings

N = 5
MANY = 12
KEY = "sk-very-secret-0123456789"


def written(folder: Path, rows: int) -> Path:
    asked = zip(*drawn(), strict=True)
    made = [
        {"pair_id": f"{i:02d}", "prompt": p.text, "image_0": png(x), "image_1": png(y), "group": "", "source": "w"}
        for i, (p, x, y) in enumerate(islice(asked, rows))
    ]
    tables.write(pa.Table.from_pylist(made, schema=tables.PAIRS.schema), tables.PAIRS, folder / "0.parquet")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("world") / "pairs", N)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to be given up."""
    return written(tmp_path_factory.mktemp("world") / "pairs", MANY)


@pytest.fixture(scope="module")
def plain(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, float]]:
    with speaking(spoken.vllm) as (url, seen):
        found = run(url, pairs, tmp_path_factory.mktemp("plain"))
    assert len(seen) == 2 * N
    return found


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    # Certificates are read for each client, which takes longer than a run, and http://127.0.0.1 has none.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


def run(url: str, pairs: Path, folder: Path, **changes: Any) -> list[tuple[float, float]]:
    stage.run(settings(url, **changes), pairs=pairs, out=folder / "labels")
    return [(row["p_order_01"], row["p_order_10"]) for row in labels(folder / "labels")]


def rounded(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(float(one > 0.5), float(other > 0.5)) for one, other in found]


SOFT = "soft"
HARD = "hard"


# Server, its labels, refused and unusable requests that finding out costs, and what is told.
THE_PLAIN_ONES = [
    (spoken.vllm, SOFT, 0, 0, None),
    (spoken.old_vllm, SOFT, 0, 1, None),
    (spoken.sglang, SOFT, 0, 0, None),
    (spoken.ollama, HARD, 0, 0, "preferences will be 0 or 1"),
    (spoken.openai, SOFT, 1, 0, "takes no structured_outputs"),
    (spoken.azure, HARD, 1, 0, "preferences will be 0 or 1"),
    (spoken.mistral, HARD, 1, 0, "preferences will be 0 or 1"),
    (spoken.fastapi, SOFT, 2, 0, "only the probability of the letter said"),
    (spoken.pydantic_in_words, SOFT, 1, 0, "takes no structured_outputs"),
    (spoken.gemini, HARD, 1, 0, "preferences will be 0 or 1"),
    (spoken.groq, HARD, 2, 0, "preferences will be 0 or 1"),
    (spoken.forbidden_logprobs, HARD, 2, 0, "preferences will be 0 or 1"),
    (spoken.litellm, HARD, 1, 0, "preferences will be 0 or 1"),
    (spoken.openrouter, SOFT, 1, 0, "takes no structured_outputs"),
    (spoken.few_logprobs, SOFT, 1, 0, None),
    (spoken.fewer_logprobs, SOFT, 1, 0, None),
    (spoken.together, SOFT, 2, 0, None),
    (spoken.not_both, SOFT, 1, 0, "takes no structured_outputs"),
    (spoken.gemma, SOFT, 1, 0, "takes no system message"),
    (spoken.gpt5, HARD, 5, 0, "preferences will be 0 or 1"),
    (spoken.silent_thinker, HARD, 0, 1, "thinks or speaks before"),
    (spoken.unparsed, HARD, 0, 1, "thinks or speaks before"),
    (spoken.half_parsed, HARD, 0, 2, "thinks or speaks before"),
    (spoken.parsed, SOFT, 0, 1, "thinks or speaks before"),
    (spoken.parts, HARD, 0, 1, "thinks or speaks before"),
    (spoken.chatty, SOFT, 0, 0, None),
    (spoken.long_chatty, HARD, 0, 2, "thinks or speaks before"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "kind", "refused", "unusable", "told"), THE_PLAIN_ONES)
def test_labels_are_the_plain_servers(
    server: Server,
    kind: str,
    refused: int,
    unusable: int,
    told: str | None,
    pairs: Path,
    plain: list[tuple[float, float]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """`refused` and `unusable` requests are what finding out has cost, by one question: sixteen workers add nothing."""
    with speaking(server) as (url, seen):
        found = run(url, pairs, tmp_path, concurrency=16)
    if kind == SOFT:
        assert found == [pytest.approx(both, abs=1e-6) for both in plain]
    else:
        assert found == rounded(plain)
    assert sum(status >= 400 for _, status in seen) == refused
    assert len(seen) == 2 * N + refused + unusable
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith(url)]
    assert len(lines) == (0 if told is None else 1)
    assert told is None or told in lines[0]


DRESSES = [
    "**{}**",
    "Image {}",
    "Answer: {}",
    "{}.",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    '{{"answer": "{}"}}',
    "({})",
]


@pytest.mark.parametrize("dress", DRESSES)
def test_a_letter_in_any_dress(dress: str, pairs: Path, plain: list[tuple[float, float]], tmp_path: Path) -> None:
    with speaking(lambda body: says(dress.format(letter(body)))) as (url, seen):
        assert run(url, pairs, tmp_path) == rounded(plain)
    assert len(seen) == 2 * N


def test_a_small_letter_with_its_probabilities(pairs: Path, plain: list[tuple[float, float]], tmp_path: Path) -> None:
    def answer(body: Body) -> Response:
        p = {f" {w.lower()}": q for w, q in spoken.spread(body).items()}
        return says(letter(body).lower(), [(f" {letter(body).lower()}", p)])

    with speaking(answer) as (url, _):
        assert run(url, pairs, tmp_path) == [pytest.approx(both, abs=1e-6) for both in plain]


def busy_first(times: int, busy: Callable[[], Response]) -> Server:
    numbers = count()
    return lambda body: busy() if next(numbers) < times else spoken.answers(body)


SOON = {"retry-after-ms": "2"}


@pytest.mark.parametrize(
    "busy",
    [
        lambda: error(429, "Rate limit reached for requests", SOON, code="rate_limit_exceeded"),
        lambda: error(503, "Loading model", SOON, type="unavailable_error"),
        lambda: error(529, "Overloaded", SOON, type="overloaded_error"),
        lambda: HTMLResponse("<html>502 Bad Gateway</html>", 502, headers=SOON),
        lambda: JSONResponse({"error": {"code": 429, "message": "Rate limit exceeded"}}, headers=SOON),
        lambda: JSONResponse({"error": {"code": "503", "message": "overloaded"}}, headers=SOON),
        lambda: JSONResponse({"error": "rate limit"}, headers=SOON),
        lambda: PlainTextResponse("rate limit exceeded", headers=SOON),
        lambda: JSONResponse([{"error": {"status": "RESOURCE_EXHAUSTED"}}], headers=SOON),
        lambda: error(404, "model loading, please retry", SOON),
        lambda: JSONResponse(
            {
                "choices": [{"message": {"content": None}, "finish_reason": "stop"}],
                "error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "error code: 1015"}},
            },
            headers=SOON,
        ),
        lambda: JSONResponse(
            {"choices": [{"error": {"code": 502, "message": "Provider"}, "finish_reason": "error", "message": {}}]},
            headers=SOON,
        ),
    ],
)  # fmt: skip
def test_a_busy_server_is_outlasted(
    busy: Callable[[], Response], pairs: Path, plain: list[tuple[float, float]], tmp_path: Path
) -> None:
    with speaking(busy_first(5, busy)) as (url, seen):
        assert run(url, pairs, tmp_path, max_retries=0, concurrency=16) == [pytest.approx(b, abs=1e-6) for b in plain]
    assert len(seen) == 2 * N + 5


STOPPED: list[tuple[Server, str]] = [
    (lambda _: error(429, "You exceeded your current quota", code="insufficient_quota"), "credit is used up"),
    (lambda _: error(402, "Payment required"), "quota or credit is used up"),
    (lambda _: error(400, "Your credit balance is too low to access the API"), "quota or credit is used up"),
    (lambda _: error(429, "slow down", {"retry-after": "86400"}), "pause of 86400 s .* than label.max_wait"),
    (lambda _: error(401, f"Incorrect API key provided: {KEY}"), r"refused the key .* put \$OPENAI_API_KEY right"),
    (lambda _: error(403, "Invalid API key"), r"refused the key"),
    (lambda _: error(403, "Country, region, or territory not supported"), "refuses questions .*own words"),
    (lambda _: error(404, "The model `biased-vlm` does not exist.", code="model_not_found"), "label.model: it has"),
    (lambda _: error(400, "Invalid model: biased-vlm"), "no model 'biased-vlm' there"),
    (lambda _: HTMLResponse("<!DOCTYPE html><h1>Oops</h1>", 404), "put label.base_url right: it .* /v1"),
    (lambda _: HTMLResponse("<title>Welcome to nginx!</title>"), "no chat completion .*nginx.*label.base_url"),
    (lambda _: JSONResponse({"candidates": []}), "no chat completion .*put label.base_url right"),
    (lambda _: JSONResponse({"success": False, "msg": "Model not exist"}), "no model 'biased-vlm' there"),
    (lambda _: Response(status_code=307, headers={"location": "https://else/v1"}), "redirects to https://else/v1.*base_url"),
    (lambda _: Response(status_code=302, headers={"location": "/login"}), "redirects to /login.*put label.base_url"),
    (lambda _: error(403, "Key limit exceeded (total limit)."), "quota or credit is used up"),
    (lambda _: error(400, "Access denied, please make sure your account is in good standing."), "credit is used up"),
    (lambda _: JSONResponse({"detail": "Not Found"}, 404), "put label.base_url right: it .* /v1"),
    (lambda _: error(404, "No endpoints found that support image input"), "it takes no pictures: set label.model"),
    (lambda _: error(500, "image input is not supported - hint: provide the mmproj"), "takes no pictures"),
    (lambda _: error(400, "messages[1]: unknown variant `image_url`, expected `text`"), "takes no pictures"),
    (lambda _: error(400, "At most 1 image(s) may be provided in one request."), "takes one picture.*limit-mm"),
    (lambda _: error(400, "some-model is not a multimodal model"), "takes no pictures"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "message"), STOPPED)
def test_what_no_question_can_pass_is_said_at_the_first(
    server: Server, message: str, pairs: Path, tmp_path: Path
) -> None:
    with speaking(server) as (url, seen), pytest.raises(UserError, match=message) as caught:
        run(url, pairs, tmp_path, concurrency=16)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(seen) == 1


def test_a_field_that_the_user_set_is_not_dropped_behind_their_back(pairs: Path, tmp_path: Path) -> None:
    def answer(body: Body) -> Response:
        return error(400, "Unknown parameter: 'top_k'.") if "top_k" in body else spoken.answers(body)

    with speaking(answer) as (url, seen), pytest.raises(UserError, match="label.request: the endpoint refuses 'top_k'"):
        run(url, pairs, tmp_path, request={"top_k": 1})
    assert len(seen) == 1


def test_an_endpoint_that_contradicts_itself_is_not_asked_for_ever(many: Path, tmp_path: Path) -> None:
    def answer(body: Body) -> Response:
        few = spoken.limit(body) < 100
        return error(400, "max_tokens must be " + ("at least 100" if few else "less than or equal to 50"))

    with speaking(answer) as (url, seen), pytest.raises(UserError, match="HTTP 400: max_tokens must be"):
        run(url, many, tmp_path)
    assert len(seen) < 24 * 14


def test_a_refusal_that_names_nothing_is_no_riddle_to_guess_at(many: Path, tmp_path: Path) -> None:
    with (
        speaking(lambda _: error(400, "Bad request")) as (url, seen),
        pytest.raises(UserError, match="given up after .* HTTP 400: Bad request"),
    ):
        run(url, many, tmp_path)
    assert len(seen) <= 24


@pytest.mark.parametrize(
    "server",
    [
        lambda body: says("The", [("The", {"The": 0.9, "A": 1e-4, "B": 1e-5})], "length"),
        lambda _: says("Image A is better than image B"),
        lambda _: says("A nice picture of a cat."),
        lambda _: says("Okay, so the user wants", finish="length"),
    ],
)
def test_answers_that_are_none_end_the_run_early_with_what_to_set(server: Server, many: Path, tmp_path: Path) -> None:
    with speaking(server) as (url, seen), pytest.raises(UserError, match=r"given up.*label\.request\.max_completion"):
        run(url, many, tmp_path)
    assert len(seen) <= 20 + 4 + 2
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    "server", [lambda _: says("", finish="content_filter"), lambda _: says(None, refusal="I won't")]
)
def test_a_filter_is_not_told_to_think(server: Server, many: Path, tmp_path: Path) -> None:
    with speaking(server) as (url, _), pytest.raises(UserError, match="given up.*blocked: ") as caught:
        run(url, many, tmp_path)
    assert "room to think" not in str(caught.value)


def test_a_page_among_answers_is_asked_again(pairs: Path, plain: list[tuple[float, float]], tmp_path: Path) -> None:
    numbers = count()

    def answer(body: Body) -> Response:
        return HTMLResponse("<html>Bad gateway</html>") if next(numbers) == 4 else spoken.answers(body)

    with speaking(answer) as (url, seen):
        assert run(url, pairs, tmp_path, max_failures=0) == [pytest.approx(both, abs=1e-6) for both in plain]
    assert len(seen) == 2 * N + 1


def test_some_answers_that_are_none_also_end_it_early(many: Path, tmp_path: Path) -> None:
    numbers = count()

    def answer(body: Body) -> Response:
        return says("I see.") if next(numbers) % 4 else spoken.answers(body)

    with speaking(answer) as (url, seen), pytest.raises(UserError, match="given up after"):
        run(url, many, tmp_path)
    assert len(seen) < 2 * MANY


def test_request_says_what_to_send(pairs: Path, tmp_path: Path) -> None:
    wanted = {"max_completion_tokens": 2000.0, "temperature": None, "logprobs": None, "guided_choice": ["A", "B"]}
    with speaking(spoken.vllm) as (url, seen):
        run(url, pairs, tmp_path, request=wanted)
    sent = {name: value for name, value in seen[0][0].items() if name not in ("model", "messages")}
    assert sent == {"max_completion_tokens": 2000, "guided_choice": ["A", "B"]}
    assert isinstance(sent["max_completion_tokens"], int)


def test_the_mass_is_shown_where_it_measures(pairs: Path, tmp_path: Path) -> None:
    """Under a constraint that is heeded it is 1 whatever the model thinks."""
    for server, mass in ((spoken.vllm, None), (spoken.sglang, 0.98), (spoken.openai, 0.99)):
        with speaking(server) as (url, _):
            summary = stage.run(settings(url), pairs=pairs, out=tmp_path / server.__name__)
        assert summary["annotators"][0]["mean_on_answer_mass"] == (None if mass is None else pytest.approx(mass))
        rows = labels(tmp_path / server.__name__)
        assert all((row["on_answer_mass"] is None) == (mass is None) for row in rows)
