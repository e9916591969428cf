"""The world's judge, asked by the real google-genai client over loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from dedpo.vision import images
from dedpo.world import judges, oracle, prompts
from dedpo.world.render import Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app

KEY = "AIzaSy-the-worlds-key"
PROMPT = prompts.Prompt("painting", "red", "circle", "navy", is_8k=True)
FIRST, SECOND = render([PROMPT, PROMPT], np.random.default_rng(3))
CRITERIA = ("general_preference", "visual_appeal", "prompt_alignment")
CHOICE = {"type": "STRING", "enum": ["first", "second", "tie"]}
SCHEMA: dict[str, Any] = {"type": "OBJECT", "properties": dict.fromkeys(CRITERIA, CHOICE) | {"why": {"type": "STRING"}}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(app(KEY)) as url:
        yield url


@pytest.fixture(params=["v1beta", "v1beta1"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=url, api_version=request.param)
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    yield client
    client.close()


def png(picture: Images) -> bytes:
    return images.encode_png(Image.fromarray(picture))


def ask(
    client: genai.Client, *pictures: Images, model: str = "shapes-judge", text: str = PROMPT.text, **changes: Any
) -> types.GenerateContentResponse:
    parts = [types.Part.from_text(text=f"The prompt: {text}")]
    parts += [types.Part.from_bytes(data=png(x), mime_type="image/png") for x in pictures]
    config = {"system_instruction": "Judge.", "response_mime_type": "application/json", "response_schema": SCHEMA}
    return client.models.generate_content(
        model=model,
        contents=[types.Content(role="user", parts=parts)],
        config=types.GenerateContentConfig(**(config | changes)),
    )


def chosen(answer: types.GenerateContentResponse) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer.text or "")
    return found


def test_the_answer_is_the_judges_on_the_pixels_sent(client: genai.Client) -> None:
    answer = ask(client, FIRST, SECOND)
    gains = judges.compare(PROMPT, FIRST, SECOND)
    found = chosen(answer)
    assert set(found) == {*CRITERIA, "why"}
    for criterion, gain in gains.items():
        assert found[criterion] == ("tie" if gain == 0 else "second" if gain > 0 else "first")
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.model_version == "shapes-judge"
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (
        2 * 258 + len(f"Judge. The prompt: {PROMPT.text}".split()),
        len((answer.text or "").split()),
    )
    assert usage.total_token_count == (usage.prompt_token_count or 0) + (usage.candidates_token_count or 0)


def test_swapping_the_pictures_swaps_the_answer_and_equal_ones_tie(client: genai.Client) -> None:
    swap = {"first": "second", "second": "first", "tie": "tie"}
    one, other = chosen(ask(client, FIRST, SECOND)), chosen(ask(client, SECOND, FIRST))
    assert {c: swap[one[c]] for c in CRITERIA} == {c: other[c] for c in CRITERIA}
    assert {chosen(ask(client, FIRST, FIRST))[c] for c in CRITERIA} == {"tie"}


def test_the_three_criteria_are_the_reward_and_its_two_parts() -> None:
    rng = np.random.default_rng(0)
    asked = [prompts.every_prompt()[i] for i in rng.integers(0, 576, 200)]
    first, second = render(asked, rng), render(asked, rng)
    gains = [judges.compare(p, x, y) for p, x, y in zip(asked, first, second, strict=True)]
    truth = oracle.human_reward(asked, second) - oracle.human_reward(asked, first)
    general = np.array([g["general_preference"] for g in gains])
    assert np.all((general == 0) == (np.abs(truth) < judges.CLOSE))
    assert np.allclose(general[general != 0], truth[general != 0])
    whole = [g for g in gains if all(g.values())]
    assert len(whole) > 50
    for g in whole:
        assert g["visual_appeal"] + g["prompt_alignment"] == pytest.approx(g["general_preference"])
    for criterion in CRITERIA:
        ties = np.mean([g[criterion] == 0 for g in gains])
        assert 0.05 < ties < 0.5


def test_the_model_describes_itself(client: genai.Client) -> None:
    assert client.models.get(model="shapes-judge").name == "models/shapes-judge"


def test_an_unknown_model_is_a_404(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match="models/gemini-9 is not found") as caught:
        ask(client, FIRST, SECOND, model="gemini-9")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("key", ["another", ""])
def test_a_wrong_key_is_refused_in_googles_words(url: str, key: str) -> None:
    answer = httpx.get(f"{url}/v1beta/models/shapes-judge", headers={"x-goog-api-key": key})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["reason"] == "API_KEY_INVALID"
    assert httpx.get(f"{url}/v1/models", headers={"x-goog-api-key": KEY}).status_code == 401


def test_without_a_key_of_its_own_the_world_takes_any() -> None:
    with listening(app()) as url:
        client = genai.Client(api_key="any", vertexai=False, http_options=types.HttpOptions(base_url=url))
        with pytest.raises(errors.ClientError, match="404"):
            client.models.get(model="shapes-judge")  # google-genai asks for v1 unless told otherwise
        client.close()
        assert httpx.get(f"{url}/v1beta/models/shapes-judge").status_code == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "a cat"}, "contents hold no prompt of this world"),
        ({"response_mime_type": "text/plain", "response_schema": None}, "application/json only"),
        ({"response_schema": {"type": "STRING"}}, "must be an OBJECT with properties"),
        ({"response_schema": {"type": "OBJECT", "properties": {"x": CHOICE}}}, "x: this model judges general_pref"),
        ({"response_schema": {"type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}}}, "x: must be a STRING"),
        (
            {"response_schema": {"type": "OBJECT", "properties": {"x": CHOICE | {"enum": ["A", "B"]}}}},
            "its enum must be first, second, tie",
        ),
    ],
)
def test_what_cannot_be_judged_is_a_400(client: genai.Client, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ClientError, match=message) as caught:
        ask(client, FIRST, SECOND, **changes)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_two_pictures_are_compared_no_fewer_no_more(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match="contents hold 1 images"):
        ask(client, FIRST)
    with pytest.raises(errors.ClientError, match="contents hold 3 images"):
        ask(client, FIRST, SECOND, FIRST)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"{}", b'{"contents": 3}', b'{"contents": [{}]}',
        b'{"contents": [{"parts": []}]}', b'{"contents": [{"parts": [{"fileData": {}}]}]}',
        b'{"contents": [{"parts": [{"inlineData": {"data": 3}}]}]}', b'{"contents": [{"parts": [{"text": "x"}]}]}',
        b'{"contents": [{"parts": [{"text": "x"}]}], "systemInstruction": []}',
    ],
)  # fmt: skip
def test_a_broken_body_is_a_400_in_googles_words(url: str, body: bytes) -> None:
    path = f"{url}/v1beta/models/shapes-judge:generateContent"
    answer = httpx.post(path, content=body, headers={"x-goog-api-key": KEY})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"code", "message", "status"}


def test_other_methods_are_said_not_to_be_there(url: str) -> None:
    for path in ("shapes-judge:streamGenerateContent", "shapes-judge:", "shapes-judge"):
        answer = httpx.post(f"{url}/v1beta/models/{path}", content=b"{}", headers={"x-goog-api-key": KEY})
        assert answer.status_code == 404
        assert answer.json()["error"]["status"] == "NOT_FOUND"
