"""Whole runs against servers of every dialect: the plain server's verdicts, or one line, and nothing answered twice."""

from __future__ import annotations

import json
import re
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from dedpo.asking import patience
from dedpo.asking.endpoint_checks import Finding
from dedpo.contract import tables
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError
from dedpo.judge import connection, probe, stage
from tests.judge.dialects import (
    Behaviour,
    at_times,
    config_of,
    deaf,
    denied,
    dressed,
    exhausted,
    failed,
    google,
    litellm,
    pydantic,
    quota,
    refusing,
    retry_info,
    thinking_of,
    thoughts_first,
    unknown_name,
)
from tests.judge.server import KEY, Body, blocks, opinion, pictures, says, scripted, writes

MODELS = [("dpo_human-0", "dedpo_tuned-0")]
N = 6


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "samples"
    for model in MODELS[0]:
        rows = [
            {"model": model, "prompt_id": f"{i:02}", "seed": 3, "prompt": f"cat {i}",
             "image": {"bytes": b"\x89PNG\r\n\x1a\n" + f"{model} {i}".encode(), "path": None}}
            for i in range(N)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=tables.SAMPLES.schema)
        tables.write(table, tables.SAMPLES, folder / f"samples-{model}.parquet")
    return folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    for name in ("GOOGLE_API_KEY", "GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    # Certificates are read for each client, which takes longer than a run, and http://127.0.0.1 has none.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


class Server:
    """One address for all tests; `behaviours` are tried in order, and then it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.restart(())

    def restart(self, behaviours: tuple[Behaviour, ...]) -> None:
        self.behaviours = behaviours
        self.bodies: list[Body] = []
        self.answered: Counter[str] = Counter()

    def answer(self, _: int, body: Body) -> Response:
        self.bodies.append(body)
        n = len(self.bodies) - 1
        response = next((r for r in (b(n, body) for b in self.behaviours) if r is not None), None) or opinion(body)
        if response.status_code == 200 and b'"error"' not in bytes(response.body):
            self.answered[str(pictures(body))] += 1
        return response


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    with scripted(found.answer) as (url, _):
        found.url = url
        yield found


class Judged:
    """What a run has written or said, and how often each comparison was answered (HTTP 200) and asked."""

    def __init__(self, server: Server, samples: Path, out: Path, *behaviours: Behaviour, **changes: Any) -> None:
        server.restart(behaviours)
        self.rows: list[dict[str, Any]] = []
        self.error = ""
        self.answered, self.bodies = server.answered, server.bodies
        fixed = {"base_url": server.url, "model": "judge-1", "concurrency": 3, "max_failures": 0, "max_wait": 60}
        try:
            stage.run(JudgeConfig(**fixed | changes), models=MODELS, samples=samples, out=out)
        except UserError as error:
            self.error = str(error)
        else:
            self.rows = tables.read(out / "verdicts.parquet", tables.VERDICTS).to_pylist()


@pytest.fixture(scope="module")
def plain(server: Server, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMINI_API_KEY", KEY)
        judged = Judged(server, samples, tmp_path_factory.mktemp("plain") / "verdicts")
    assert len(judged.rows) == 3 * N
    return judged.rows


def capitals(said: str) -> str:
    return json.dumps(
        {k.replace("_", " ").title(): v if k == "rationale" else v.title() for k, v in json.loads(said).items()}
    )


MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
THINKS = "thinking_config is not supported."
ADAPTED: dict[str, tuple[Behaviour, ...]] = {
    "no thinking, Google": (refusing(thinking_of, lambda: google(400, "Thinking is not enabled for models/judge-1")),),
    "no thinking, Google 2025-05": (refusing(thinking_of, lambda: google(400, THINKS)),),
    "no thinking, Vertex": (
        refusing(
            thinking_of,
            lambda: google(
                400, "Unable to submit request because thinking is not supported by this model. Learn more: …"
            ),
        ),
    ),
    "no thinking, quoted by a proxy": (refusing(thinking_of, lambda: litellm(400, "BadRequestError", THINKS)),),
    "no thinking, a proxy's own words": (
        refusing(
            thinking_of,
            lambda: litellm(400, "UnsupportedParamsError", "gemini does not support parameters: ['thinking']"),
        ),
    ),
    "no thinking, FastAPI": (refusing(thinking_of, lambda: pydantic("generationConfig", "thinkingConfig")),),
    "no thinking, a field": (refusing(thinking_of, lambda: google(400, "thinkingConfig is not a valid field")),),
    "no thinking, a lack": (refusing(thinking_of, lambda: google(400, "It doesn't have thinking capabilities")),),
    "no JSON beside tools": (
        refusing(
            lambda body: config_of(body).get("responseMimeType"),
            lambda: google(400, "Function calling with a response mime type: 'application/json' is unsupported"),
        ),
    ),
    "v1 and not v1beta": (unknown_name("thinkingConfig", "responseMimeType", "responseSchema", "systemInstruction"),),
    "no property ordering": (
        refusing(
            lambda body: "propertyOrdering" in str(config_of(body)),
            lambda: google(
                400, "Unknown name \"propertyOrdering\" at 'generation_config.response_schema': Cannot find field."
            ),
        ),
    ),
    "Gemma": (
        refusing(
            lambda body: body.get("systemInstruction"),
            lambda: google(400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        ),
        refusing(
            lambda body: config_of(body).get("responseMimeType"),
            lambda: google(400, "JSON mode is not enabled for models/gemma-3-27b-it"),
        ),
        refusing(thinking_of, lambda: google(400, "Thinking budget is not supported for this model.")),
    ),
    "a small limit": (
        refusing(
            lambda body: config_of(body).get("maxOutputTokens"),
            lambda: google(
                400, "it has a maxOutputTokens value of 1024 but the supported range is from 1 to 513 (exclusive)"
            ),
        ),
    ),
    "no temperature": (
        refusing(
            lambda body: "temperature" in config_of(body),
            lambda: litellm(400, "BadRequestError", "temperature is not supported with this model"),
        ),
    ),
    "in a fence": (dressed(lambda said: f"```json\n{said}\n```"),),
    "twice": (dressed(lambda said: f"{said}\n{said}"),),
    "as a list": (dressed(lambda said: f"[{said}]"),),
    "capitalised": (dressed(capitals),),
    "in a sentence": (dressed(lambda said: f"Sure! {said} Hope it helps."),),
    "after a thought in the text": (dressed(lambda said: f"<think>{said.replace('first', 'second')}</think>\n{said}"),),
    "after a thought of its own": (thoughts_first,),
    "padded to the limit": (dressed(lambda said: said + "\n" * 900, finish="MAX_TOKENS"),),
    "busy, no hint": (
        at_times(dict.fromkeys((0, 2, 3, 7), exhausted("Resource has been exhausted (e.g. check quota)."))),
    ),
    "busy, RetryInfo": (
        at_times(
            dict.fromkeys((1, 2), exhausted("You exceeded your current quota.", quota(MINUTE), retry_info("0.02s")))
        ),
    ),
    "overloaded": (at_times({n: google(503, "The model is overloaded.", "UNAVAILABLE") for n in (0, 1, 5)}),),
    "broken moments": (
        at_times({0: google(500, "Internal error", "INTERNAL"), 4: google(504, "Deadline", "DEADLINE_EXCEEDED")}),
    ),
    "errors in 200": (
        at_times(
            {
                0: JSONResponse({"error": {"code": 429, "message": "slow down"}}),
                1: JSONResponse([{"error": {"code": "503", "message": "loading"}}]),
                3: JSONResponse({"error": {"message": "wait", "status": "RESOURCE_EXHAUSTED"}}),
                4: JSONResponse({"error": {"code": 500, "message": "oops"}, "candidates": []}),
            }
        ),
    ),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_the_plain_servers_verdicts(
    name: str, server: Server, samples: Path, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    judged = Judged(server, samples, tmp_path / "verdicts", *ADAPTED[name])
    assert judged.error == ""
    assert judged.rows == plain
    assert set(judged.answered.values()) == {1}, "nothing that was answered is asked again"
    # Every refused field costs one refusal, and every busy or broken moment one request.
    assert len(judged.bodies) <= N + 5


def test_what_is_given_up_is_said_once(
    server: Server, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = Judged(server, samples, tmp_path / "verdicts", *ADAPTED["Gemma"])
    told = [line for line in capsys.readouterr().err.splitlines() if "now gets" in line]
    assert [re.sub(".*now gets ", "", line) for line in told] == [
        "the instructions and the form of the answer in words",
        "no word about thinking (judge.thinking_budget): it thinks as it likes, if at all",
    ]
    assert "Developer instruction is not enabled" in told[0]
    last = judged.bodies[-1]
    assert "systemInstruction" not in last
    assert config_of(last) == {"temperature": 0, "maxOutputTokens": 1024}
    assert "You judge two images" in last["contents"][0]["parts"][0]["text"]


def test_where_the_schema_is_ignored_the_form_is_asked_for_in_words(
    server: Server, samples: Path, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    judged = Judged(server, samples, tmp_path / "verdicts", deaf)
    assert judged.rows == plain
    assert sorted(judged.answered.values()) == [1] * (N - 1) + [2], "the first question found it out"


def test_gemini_3_is_given_a_level(server: Server, samples: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    judged = Judged(server, samples, tmp_path / "verdicts", thinking_level="low")
    assert judged.rows == plain
    assert thinking_of(judged.bodies[0]) == {"thinkingLevel": "LOW"}
    assert "maxOutputTokens" not in config_of(judged.bodies[0])


def budget_refused(refusal: Response) -> Behaviour:
    return refusing(lambda body: thinking_of(body).get("thinkingBudget") == 0, lambda: refusal)


BUDGET = r"refuses judge.thinking_budget: 0 \(HTTP 400: .*\); "
NO_BUDGET = "Budget 0 is invalid. This model only works in thinking mode."
LEVEL = "set judge.thinking_level: low"
SPENT = r"the quota or the credit is used up \(HTTP 429: .*what was answered is kept"
STOPPED: dict[str, tuple[Behaviour, dict[str, Any], str]] = {
    "2.5 Pro": (budget_refused(google(400, NO_BUDGET)), {"model": "gemini-2.5-pro"}, BUDGET + "set it to 128 to 32768"),
    "2.5 Pro, range": (
        budget_refused(google(400, "The thinking budget 0 is invalid. Please choose a value between 200 and 3000.")),
        {},
        BUDGET + "set it to 200 to 3000, to -1 .* or to null",
    ),
    "2.5 Pro, Vertex": (
        budget_refused(
            google(400, "thinking_budget is out of range; supported values are integers from 128 to 32768.")
        ),
        {},
        BUDGET + "set it to 128 to 32768",
    ),
    "2.5 Pro, Vertex preview": (
        budget_refused(
            google(
                400,
                "Unable to submit request because Thinking can't be disabled for this model. Remove "
                "'thinking_config.thinking_budget' from your request to use the default setting.",
            )
        ),
        {},
        BUDGET + "set it to 128 or more, .* or to null",
    ),
    "2.5 Pro, Code Assist": (
        budget_refused(
            google(400, "Unable to submit request because The model does not support setting thinking_budget to 0")
        ),
        {},
        BUDGET,
    ),
    "2.5 Pro behind a proxy": (budget_refused(litellm(400, "BadRequestError", NO_BUDGET)), {}, BUDGET),
    **{
        said: (budget_refused(google(400, said)), {}, BUDGET + f"set it to {values}")
        for said, values in (
            ("thinking_budget=0 is not allowed for this model", "128 or more"),
            ("thinkingBudget: value 0 not in [128, 32768]", "128 to 32768"),
            ("This model requires thinking to be enabled.", "128 or more"),
            ("Disabling thinking is not supported for judge-1.", "128 or more"),
            ("Budget of thinking_config must not be zero", "128 or more"),
            ("Reasoning cannot be turned off", "128 or more"),
        )
    },
    "no wording known": (budget_refused(google(400, "Thinking: no.")), {}, BUDGET + "set it to 128 or more"),
    "Gemini 3, nameless": (
        budget_refused(google(400, "Request contains an invalid argument.")),
        {"model": "gemini-3-flash-preview"},
        BUDGET + LEVEL,
    ),
    "Gemini 3, named": (
        budget_refused(google(400, "This model takes a thinking level and no thinking budget.")),
        {},
        BUDGET + LEVEL,
    ),
    "Gemini 2.5 and a level": (
        refusing(
            lambda b: "thinkingLevel" in thinking_of(b),
            lambda: google(400, "Thinking level is not supported for this model."),
        ),
        {"thinking_level": "low"},
        r"refuses judge.thinking_level: low .*null.*judge.thinking_budget",
    ),
    "cut in the thought": (
        lambda *_: JSONResponse(
            {
                "candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}],
                "usageMetadata": {"thoughtsTokenCount": 1020},
            }
        ),
        {},
        r"cut short at 1024 tokens \(MAX_TOKENS, 1020 of them thought\); it thinks although .*budget is 0: set",
    ),
    "cut, small budget": (
        lambda *_: writes('{"rat', finish="MAX_TOKENS"),
        {"thinking_budget": 128},
        r"cut short at 1152 tokens .*raise judge.thinking_budget \(128\), or set it to null",
    ),
    "cut, a proxy's word": (lambda *_: writes('{"rat', finish="length"), {}, "cut short at 1024 tokens"),
    "cut by the server": (
        lambda *_: writes("", finish="MAX_TOKENS"),
        {"thinking_budget": None},
        "its own limit of tokens .*set judge.thinking_budget to a number",
    ),
    "a day's quota": (
        lambda *_: exhausted("You exceeded your current quota.", quota(MINUTE, DAY), retry_info("34s")),
        {},
        SPENT,
    ),
    "a day's quota, quoted": (lambda *_: litellm(429, "RateLimitError", f"quotaId: {DAY}"), {}, SPENT),
    "a day's quota in 200": (
        lambda *_: JSONResponse({"error": {"code": 429, "message": "no", "details": [quota(DAY)]}}),
        {},
        SPENT,
    ),
    "no credit": (lambda *_: exhausted("Your prepayment credits are depleted."), {}, SPENT),
    "a pause of hours": (
        lambda *_: exhausted("Your quota will reset.", retry_info("21599.96s")),
        {},
        "wants a pause of 21600 s .*judge.max_wait",
    ),
    "a wrong key": (
        lambda *_: google(
            400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}
        ),
        {},
        r"refused the key .*\$GEMINI_API_KEY",
    ),
    "an old key": (
        lambda *_: google(400, "API key expired. Please renew the API key."),
        {},
        r"refused the key .*\$GEMINI_API_KEY",
    ),
    "a leaked key": (
        lambda *_: denied("Your API key was reported as leaked. Please use another API key."),
        {},
        "refused the key",
    ),
    "no right": (
        lambda *_: denied("Permission 'aiplatform.endpoints.predict' denied on resource"),
        {},
        "refused the key",
    ),
    "a country": (
        lambda *_: failed("User location is not supported for the API use."),
        {},
        "country .*judge.base_url to a gateway",
    ),
    "no billing": (
        lambda *_: failed("Gemini API free tier is not available in your country. Please enable billing."),
        {},
        "billing.*enable it",
    ),
    "API not enabled": (
        lambda *_: denied("Generative Language API has not been used in project 12 before or it is disabled."),
        {},
        "has not enabled the API",
    ),
    "a firewall": (
        lambda *_: HTMLResponse("<html><title>Access denied</title></html>", status_code=403),
        {},
        r"HTTP 403: Access denied\); put right what it says, or judge.base_url",
    ),
    "no such model": (
        lambda *_: google(404, "models/judge-1 is not found for API version v1beta, or is not supported", "NOT_FOUND"),
        {},
        "no model 'judge-1' there .*set judge.model",
    ),
    "a model of the past": (
        lambda *_: google(404, "This model models/judge-1 is no longer available.", "NOT_FOUND"),
        {},
        "no model 'judge-1' there",
    ),
    "OpenAI's protocol": (
        lambda *_: JSONResponse({"detail": "Not Found"}, status_code=404),
        {},
        "judge.base_url .*not OpenAI's protocol",
    ),
    "another path": (
        lambda *_: PlainTextResponse("Cannot POST /v1beta/models/judge-1:generateContent", status_code=404),
        {},
        "judge.base_url",
    ),
    "no POST": (lambda *_: JSONResponse({"detail": "Method Not Allowed"}, status_code=405), {}, "judge.base_url"),
    "a redirect": (
        lambda *_: Response(status_code=308, headers={"location": "https://else.where/"}),
        {},
        "HTTP 308.*judge.base_url",
    ),
    "OpenAI's answer": (
        lambda *_: JSONResponse({"choices": [{"message": {"content": "{}"}}]}),
        {},
        "another protocol: .*put judge.base_url",
    ),
    "a page": (
        lambda *_: HTMLResponse("<html>Log in</html>"),
        {},
        "answers with no JSON: '<html>Log in</html>'; put judge.base_url",
    ),
    "blind": (
        lambda *_: google(400, "Image input modality is not enabled for models/judge-1"),
        {},
        "takes no two pictures .*set judge.model",
    ),
    "one picture": (
        lambda *_: litellm(400, "BadRequestError", "At most 1 image(s) may be provided in one request."),
        {},
        "takes no two pictures",
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_one_line_says_what_to_do_at_the_first_question(
    name: str, server: Server, samples: Path, tmp_path: Path
) -> None:
    behaviour, changes, message = STOPPED[name]
    judged = Judged(server, samples, tmp_path / "verdicts", behaviour, **changes)
    assert re.search(message, judged.error), judged.error
    assert "\n" not in judged.error
    # Where no field was named, one more request finds it.
    assert len(judged.bodies) == (2 if name in ("Gemini 3, nameless", "no wording known") else 1)


def found(server: Server, *behaviours: Behaviour, **changes: Any) -> Finding:
    """What doctor and preflight say."""
    server.restart(behaviours)
    settings = JudgeConfig(**{"base_url": server.url, "model": "judge-1", "max_wait": 60} | changes)
    return probe.judgement(settings)


@pytest.mark.parametrize("name", ADAPTED)
def test_doctor_reads_one_answer(name: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    expected = found(server)
    finding = found(server, *ADAPTED[name])
    assert finding.state == expected.state
    assert finding.detail.split(" (")[0] == expected.detail.split(" (")[0]
    assert re.search(r"general_preference \w+, .* \([0-9.]+ s, 600 \+ 20 tokens, \$0.0002\)", finding.detail)
    assert sum(server.answered.values()) == 1
    assert capsys.readouterr().err == "", "what is told stands in the line"


@pytest.mark.parametrize("name", STOPPED)
def test_doctor_says_the_same_line(name: str, server: Server) -> None:
    behaviour, changes, message = STOPPED[name]
    finding = found(server, behaviour, **changes)
    assert finding.state == "missing"
    assert re.search(message, finding.detail)
    assert "\n" not in finding.detail
    assert sum(server.answered.values()) <= 1


def test_doctor_names_a_judge_that_does_not_look_and_one_that_does_not_answer(server: Server) -> None:
    seen = found(server, lambda *_: says("second"))
    assert (seen.state, "may not look" in seen.detail) == ("ok", False)
    always_first = found(server, lambda *_: says("first"))
    assert always_first.state == "note"
    assert "it may not look at pictures" in always_first.detail
    chats = found(server, deaf)
    assert chats.state == "note"
    assert (
        chats.detail
        == "malformed answer: no JSON object: 'I like the first image better, though the second is sharper.'"
    )
    assert sum(server.answered.values()) == 1


def test_doctor_names_a_limit_that_a_run_would_not_pass(server: Server) -> None:
    late = found(server, lambda *_: says("second"), timeout=1e-6)
    assert (late.state, "a run waits for 1e-06 s: raise judge.timeout" in late.detail) == ("note", True)


def test_doctor_waits_for_a_busy_judge_only_so_long(server: Server) -> None:
    server.restart((lambda *_: exhausted("slow down"),))
    answered = probe.ask(JudgeConfig(base_url=server.url, model="judge-1"), seconds=0.5)
    assert not answered.is_right
    assert re.search(r"no answer to one question within 0.5 s \(.*HTTP 429: slow down", answered.detail)


def test_a_model_that_only_chats_is_given_up_after_three(server: Server, samples: Path, tmp_path: Path) -> None:
    judged = Judged(server, samples, tmp_path / "verdicts", lambda *_: writes("The first, I would say."))
    assert re.search("another form than it is asked for .*'The first, I would say.'.*set judge.model", judged.error)
    assert sorted(judged.answered.values()) == [1, 1, 2]


def test_a_cut_among_answers_costs_one_comparison(server: Server, samples: Path, tmp_path: Path) -> None:
    judged = Judged(
        server, samples, tmp_path / "verdicts", at_times({3: writes('{"rat', finish="MAX_TOKENS")}), max_failures=0.2
    )
    errors = [row["error"] for row in judged.rows if row["error"]]
    assert len(errors) == 3
    assert errors[0].startswith(
        "cut short: the answer is cut short at 1024 tokens (MAX_TOKENS); set judge.thinking_budget"
    )
    assert set(judged.answered.values()) == {1}


def test_one_question_goes_alone_until_the_judge_has_answered(server: Server, samples: Path, tmp_path: Path) -> None:
    blocked = at_times({0: blocks(), 1: blocks("SPII"), 2: google(500, "oops", "INTERNAL")})
    judged = Judged(server, samples, tmp_path / "verdicts", blocked, max_failures=1)
    shown = [str(pictures(body)) for body in judged.bodies]
    assert len(set(shown[:3])) == 3
    assert shown[2] == shown[3], "until then nothing else was asked"
    assert {row["error"] for row in judged.rows} == {None, "blocked: the answer, SAFETY", "blocked: the answer, SPII"}
    assert set(judged.answered.values()) == {1}


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_among_answers_is_that_questions(status: int, server: Server, samples: Path, tmp_path: Path) -> None:
    refusal = google(status, "Unable to process input image." if status == 400 else "Flagged by moderation")
    judged = Judged(server, samples, tmp_path / "verdicts", at_times({2: refusal}), max_failures=0.2)
    assert {row["error"] for row in judged.rows if row["error"]} == {
        f"HTTP {status}: {json.loads(bytes(refusal.body))['error']['message']}"
    }


def test_what_the_key_refuses_is_shown_without_it(server: Server, samples: Path, tmp_path: Path) -> None:
    judged = Judged(
        server, samples, tmp_path / "verdicts", lambda *_: google(403, f"Consumer 'api_key:{KEY}' has been suspended.")
    )
    assert "suspended" in judged.error
    assert KEY not in judged.error
