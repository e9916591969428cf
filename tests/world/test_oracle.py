import numpy as np
import pytest

from dedpo.world.oracle import MEASURES, human_preferences, human_reward, measure, reward
from dedpo.world.prompts import Prompt, every_prompt
from dedpo.world.render import render

RED = Prompt("poster", "red", "circle", "white", False)
BLUE = Prompt("poster", "blue", "circle", "white", False)


def pairs(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    prompts = [every_prompt()[i] for i in rng.integers(0, 576, n)]
    return prompts, render(prompts, rng), render(prompts, rng)


def soften(image):
    """A 3×3 mean over each picture's inside."""
    out = image.astype(float)
    rows = [image[:, 1 + dy : 15 + dy, 1 + dx : 15 + dx].astype(float) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    out[:, 1:15, 1:15] = np.mean(rows, axis=0)
    return np.round(out).astype(np.uint8)


def test_measures_are_functions_of_prompt_and_pixels():
    prompts, images, _ = pairs(50)
    first, again = measure(prompts, images), measure(prompts, images.copy())
    assert tuple(first) == MEASURES
    for name in MEASURES:
        assert first[name].shape == (50,)
        assert np.array_equal(first[name], again[name])
        alone = [measure([p], i[None])[name][0] for p, i in zip(prompts, images, strict=True)]
        assert first[name] == pytest.approx(alone)


def test_measures_are_in_standard_deviations():
    prompts, images, _ = pairs(3000)
    for values in measure(prompts, images).values():
        assert np.abs(values).max() <= 3
        assert values.mean() == pytest.approx(0, abs=0.1)
        assert values.std() == pytest.approx(1, abs=0.1)


def test_softness_lowers_sharp():
    prompts, images, _ = pairs(500)
    assert (measure(prompts, soften(images))["sharp"] < measure(prompts, images)["sharp"]).mean() > 0.95


def test_the_right_colour_raises_adherence():
    images = render([RED] * 200, np.random.default_rng(0), wrong_colours=0.0)
    assert (measure([RED] * 200, images)["adherence"] > measure([BLUE] * 200, images)["adherence"]).all()


def test_the_taste_for_edges_has_a_peak():
    """Of pictures of the same colours people like those best that are crisp, and neither soft nor hard."""
    prompts, images, _ = pairs(4000)
    found = measure(prompts, images)
    off, rewards = found["sharp"] - 0.5, human_reward(prompts, images) - np.clip(found["adherence"], -3, 1)
    crisp, soft, hard = (rewards[which].mean() for which in (abs(off) < 0.2, off < -1, off > 1))
    assert crisp > max(soft, hard) + 0.4
    # Beyond two standard deviations nothing more is lost.
    assert rewards.min() == pytest.approx(-1)


def test_the_reward_saturates():
    prompts, images, _ = pairs(2000)
    rewards = human_reward(prompts, images)
    assert rewards.min() >= -3 - 1
    assert rewards.max() <= 1


def test_who_expects_pale_colours_likes_pale_pictures_better():
    prompts = [RED] * 400
    images = render(prompts, np.random.default_rng(0), wrong_colours=0.0)
    chroma = measure(prompts, images)["chroma"]
    pale, full = reward(prompts, images, 0.5), reward(prompts, images)
    assert np.corrcoef(chroma, full - pale)[0, 1] > 0.8
    np.testing.assert_array_equal(full, human_reward(prompts, images))


def test_choices_are_0_half_or_1_and_ties_exist():
    prompts, first, second = pairs(2000)
    choices = human_preferences(prompts, first, second, np.random.default_rng(0))
    assert set(np.unique(choices)) == {0.0, 0.5, 1.0}
    assert 0.005 < (choices == 0.5).mean() < 0.1
    assert np.array_equal(choices, human_preferences(prompts, first, second, np.random.default_rng(0)))


def test_the_same_picture_twice_is_a_tie():
    prompts, first, _ = pairs(20)
    assert (human_preferences(prompts, first, first, np.random.default_rng(0)) == 0.5).all()


def test_swapping_the_pictures_turns_the_preference_round_in_expectation():
    prompts, first, second = pairs(200)
    rng = np.random.default_rng(1)
    forward = np.mean([human_preferences(prompts, first, second, rng) for _ in range(50)], axis=0)
    backward = np.mean([human_preferences(prompts, second, first, rng) for _ in range(50)], axis=0)
    # The two means' sum has a standard error of at most 0.1 a pair, and 0.007 over all of them.
    assert np.abs(forward + backward - 1).max() < 0.5
    assert (forward + backward).mean() == pytest.approx(1, abs=0.03)


def test_humans_mostly_choose_the_better_picture():
    prompts, first, second = pairs(2000)
    choices = human_preferences(prompts, first, second, np.random.default_rng(0))
    gain = human_reward(prompts, second) - human_reward(prompts, first)
    decided = choices != 0.5
    assert 0.9 < ((gain > 0) == (choices == 1))[decided].mean() < 1
