import numpy as np
import pytest

from dedpo.world.prompts import COLOURS, FINISHES, SHAPES, Prompt, every_prompt, parse, prompts_of
from dedpo.world.render import RGB, SIZE, render


def draw(prompts, seed=0):
    return render(prompts, np.random.default_rng(seed))


def test_pictures_are_rgb_bytes_and_a_function_of_the_seed():
    prompts = every_prompt()
    images = draw(prompts)
    assert images.shape == (576, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, draw(prompts))
    assert not np.array_equal(images, draw(prompts, seed=1))


def test_no_two_pictures_of_a_prompt_are_alike():
    images = draw([Prompt("photo", "red", "circle", "white", False)] * 500)
    assert len({i.tobytes() for i in images}) == 500


@pytest.mark.parametrize("background", ["white", "black", "navy"])
def test_the_border_is_the_background(background):
    images = draw([Prompt("poster", "red", "circle", background, False)] * 50)
    corner = images[:, 0, 0].mean(axis=0) / 255
    assert corner == pytest.approx(RGB[background], abs=0.02)


def test_most_pictures_show_the_colour_asked_for_and_some_another():
    n = 2000
    images = draw([Prompt("poster", "blue", "square", "white", False)] * n) / 255
    middle = images[:, 7:9, 7:9].mean(axis=(1, 2))
    hue = middle - middle.mean(axis=1, keepdims=True)
    known = np.array([RGB[c] for c in COLOURS])
    known -= known.mean(axis=1, keepdims=True)
    cosine = hue @ known.T / np.linalg.norm(hue, axis=1)[:, None] / np.linalg.norm(known, axis=1)
    wrong = np.mean(cosine.argmax(axis=1) != COLOURS.index("blue"))
    assert wrong == pytest.approx(0.12, abs=0.03)


def test_shapes_and_finishes_differ():
    for field, values in (("shape", SHAPES), ("finish", FINISHES)):
        drawn = []
        for value in values:
            parts = {"finish": "poster", "colour": "red", "shape": "circle", "background": "white", "is_8k": False}
            drawn.append(draw([Prompt(**(parts | {field: value}))] * 20).astype(float))
        for i in range(4):
            for j in range(i):
                assert np.abs(drawn[i] - drawn[j]).mean() > 1.0


def test_prompts_are_576_different_ones_in_three_splits():
    texts = {p.text for p in every_prompt()}
    assert len(texts) == 576
    splits = [{p.text for p in prompts_of(s)} for s in ("train", "validation", "test")]
    assert set.union(*splits) == texts
    assert sum(map(len, splits)) == 576


def test_a_prompt_is_found_in_a_message():
    for prompt in every_prompt():
        assert parse(f'Which is the better image of "{prompt.text}"?') == prompt
    assert parse("a photo of a cat") is None
