"""The world's protocol, asserted by the real openai client over loopback."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from dedpo.vision import images
from dedpo.world import oracle, prompts
from dedpo.world.annotators import ANNOTATORS
from dedpo.world.render import Images, render
from dedpo.world.serve import listening
from dedpo.world.server import app

PROMPT = prompts.Prompt("painting", "red", "circle", "navy", is_8k=True)
FIRST, SECOND = render([PROMPT, PROMPT], np.random.default_rng(3))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(app()) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def data_url(picture: Images) -> str:
    return f"data:image/png;base64,{base64.b64encode(images.encode_png(Image.fromarray(picture))).decode()}"


def image_part(picture: Images) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(picture)}}


def message(*pictures: Images, text: str = PROMPT.text) -> list[Any]:
    parts = [{"type": "text", "text": f"Prompt: {text}\nWhich is better?"}, *map(image_part, pictures)]
    return [{"role": "system", "content": "Compare."}, {"role": "user", "content": parts}]


def ask(client: openai.OpenAI, *pictures: Images, choice: tuple[str, str] = ("A", "B"), **more: Any) -> Any:
    fields = {
        "model": "biased-vlm",
        "messages": message(*pictures),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
    }
    return client.chat.completions.create(**(fields | more), extra_body={"structured_outputs": {"choice": choice}})


def top(answer: Any) -> dict[str, float]:
    return {t.token: math.exp(t.logprob) for t in answer.choices[0].logprobs.content[0].top_logprobs}


@pytest.mark.parametrize("model", list(ANNOTATORS))
def test_the_answer_is_the_annotators_on_the_pixels_sent(client: openai.OpenAI, model: str) -> None:
    expected = 1 / (1 + math.exp(-ANNOTATORS[model](PROMPT, FIRST, SECOND)))
    answer = ask(client, FIRST, SECOND, model=model)
    assert top(answer)["B"] == pytest.approx(expected)
    assert sum(top(answer).values()) == pytest.approx(1)
    assert answer.choices[0].message.content == ("B" if expected > 0.5 else "A")
    assert answer.choices[0].logprobs.content[0].token == answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.model == model
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens == len(f"Compare. Prompt: {PROMPT.text} Which is better?".split()) + 2


def test_swapping_the_pictures_swaps_the_answer(client: openai.OpenAI) -> None:
    one, other = top(ask(client, FIRST, SECOND, model="clip-like")), top(ask(client, SECOND, FIRST, model="clip-like"))
    assert one["A"] == pytest.approx(other["B"])


def test_the_first_choice_stands_for_the_first_picture(client: openai.OpenAI) -> None:
    letters, words = top(ask(client, FIRST, SECOND)), top(ask(client, FIRST, SECOND, choice=("left", "right")))
    assert words == {"left": letters["A"], "right": letters["B"]}


def test_top_logprobs_and_length_are_honoured(client: openai.OpenAI) -> None:
    one = ask(client, FIRST, SECOND, top_logprobs=1, max_tokens=8)
    assert list(top(one)) == [one.choices[0].message.content]
    assert one.choices[0].finish_reason == "stop"
    none = ask(client, FIRST, SECOND, logprobs=False, top_logprobs=None)
    assert none.choices[0].logprobs is None


def test_a_temperature_draws_from_the_two(client: openai.OpenAI) -> None:
    # Of a near tie, so that both words come up: a picture against itself.
    words = [
        ask(client, FIRST, FIRST, model="clip-like", temperature=1, seed=s).choices[0].message.content
        for s in range(20)
    ]
    assert set(words) == {"A", "B"}
    again = ask(client, FIRST, FIRST, model="clip-like", temperature=1, seed=0)
    assert again.choices[0].message.content == words[0]


def test_models_and_health(client: openai.OpenAI, url: str) -> None:
    assert {m.id for m in client.models.list()} == set(ANNOTATORS)
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_an_unknown_model_is_a_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="`gpt-9` does not exist") as caught:
        ask(client, FIRST, SECOND, model="gpt-9")
    assert caught.value.code == "model_not_found"


def test_a_wrong_key_is_a_401() -> None:
    with listening(app(key="right")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
            with pytest.raises(openai.AuthenticationError):
                ask(client, FIRST, SECOND)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="right", max_retries=0) as client:
            assert ask(client, FIRST, SECOND).choices
        assert httpx.post(f"{url}/v1/score", json={}).status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200


WIDE = np.zeros((16, 17, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"messages": message(FIRST)}, "1 images; this model compares exactly two"),
        ({"messages": message(FIRST, SECOND, FIRST)}, "3 images"),
        ({"messages": message(FIRST, SECOND, text="a cat")}, "no prompt of this world"),
        ({"messages": message(FIRST, WIDE)}, "17×16 pixels"),
        ({"messages": [{"role": "user", "content": 3}]}, "text and image_url parts"),
        ({"messages": []}, "messages must be a list"),
        ({"top_logprobs": 21}, "at most 20"),
        ({"logprobs": False}, "top_logprobs needs logprobs"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1 up"),
        ({"temperature": 3}, "temperature must lie"),
        ({"n": 2}, "one completion"),
        ({"choice": ("A", "A")}, "two different texts"),
        ({"choice": ("A", "B", "C")}, "two different texts"),
    ],
)
def test_what_cannot_be_served_is_a_400(client: openai.OpenAI, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(openai.BadRequestError, match=complaint):
        ask(client, FIRST, SECOND, **changes)


@pytest.mark.parametrize("bad", ["http://127.0.0.1/x.png", "data:image/png,xx", "data:image/png;base64,?", "data:x"])
def test_only_readable_data_urls_are_pictures(client: openai.OpenAI, bad: str) -> None:
    messages = message(FIRST, SECOND)
    messages[1]["content"][1]["image_url"]["url"] = bad
    with pytest.raises(openai.BadRequestError, match="image|base64"):
        ask(client, messages=messages)


def test_a_bomb_is_refused_undecoded(client: openai.OpenAI) -> None:
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, format="PNG")
    messages = message(FIRST, SECOND)
    messages[1]["content"][1]["image_url"]["url"] = (
        f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    )
    with pytest.raises(openai.BadRequestError, match="exceed the limit"):
        ask(client, messages=messages)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"seed": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_400_in_openais_words(url: str, body: bytes) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_other_paths_and_methods_answer_in_json(url: str) -> None:
    assert httpx.get(f"{url}/v1/other").status_code == 404
    assert "error" in httpx.get(f"{url}/v1/other").json()
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405


def test_scores_are_the_oracles(url: str) -> None:
    items = [{"prompt": PROMPT.text, "image": data_url(x)} for x in (FIRST, SECOND)]
    shown = np.stack([FIRST, SECOND])
    liked, adherence = oracle.human_reward([PROMPT] * 2, shown), oracle.measure([PROMPT] * 2, shown)["adherence"]
    batch = httpx.post(f"{url}/v1/score", json={"items": items}).json()
    assert [s["human_oracle"] for s in batch] == pytest.approx(liked)
    assert [s["adherence"] for s in batch] == pytest.approx(adherence)
    assert httpx.post(f"{url}/v1/score", json=items[1]).json() == batch[1]
    assert httpx.post(f"{url}/v1/score", json={"items": []}).json() == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "item 0: prompt is missing"),
        ({"prompt": PROMPT.text}, "item 0: images must be sent as data URLs"),
        ({"prompt": "a cat", "image": data_url(FIRST)}, "item 0: 'a cat' is no prompt of this world"),
        ({"items": [{"prompt": PROMPT.text, "image": data_url(FIRST)}, 3]}, "item 1: prompt is missing"),
        ({"items": 3}, "items must be a list"),
    ],
)
def test_what_cannot_be_scored_is_a_400(url: str, body: dict[str, Any], complaint: str) -> None:
    response = httpx.post(f"{url}/v1/score", content=json.dumps(body))
    assert response.status_code == 400
    assert complaint in response.json()["error"]["message"]
