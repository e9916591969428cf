from __future__ import annotations

import time

import numpy as np
import pytest

from dedpo.stats.lift import word_lift, words_of
from dedpo.world.prompts import prompts_of

PROMPTS = [p.text for p in prompts_of("train")]


def lifts(prompts, disagreements, groups, seed=0, permutations=1000, **options):
    settings = {"min_support": 10, "alpha": 0.05} | options
    rng = np.random.default_rng(seed)
    return word_lift(prompts, disagreements, groups, permutations=permutations, rng=rng, **settings)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A Photo, of a red-haired child’s TOY", {"a", "photo", "of", "red-haired", "child’s", "toy"}),
        ("<script>alert(1)</script>", {"script", "alert", "1"}),
        ("=cmd()", {"cmd"}),
        ("木 дом 8k", {"木", "дом", "8k"}),
        ("x" * 10_000, set()),
        ("", set()),
    ],
)
def test_words_are_letters_and_digits(prompt, words):
    assert words_of(prompt) == words


def draw(seed, n=2000):
    rng = np.random.default_rng(seed)
    places, groups = np.unique(rng.integers(0, len(PROMPTS), n), return_inverse=True)
    return rng, [PROMPTS[i] for i in places], groups


def test_random_flips_flag_a_word_in_few_runs():
    flagged = 0
    for seed in range(100):
        rng, prompts, groups = draw(seed)
        flips = (rng.random(len(groups)) < 0.2).astype(float)
        flagged += any(w.q <= 0.05 for w in lifts(prompts, flips, groups, seed))
    assert flagged <= 10


def test_hard_prompts_flag_a_word_in_few_runs():
    """Here a test over pairs flags words in nearly every run."""
    flagged = 0
    for seed in range(100, 200):
        rng, prompts, groups = draw(seed)
        hard = rng.beta(0.5, 2, len(prompts))
        flips = (rng.random(len(groups)) < hard[groups]).astype(float)
        flagged += any(w.q <= 0.05 for w in lifts(prompts, flips, groups, seed, permutations=400))
    assert flagged <= 10


def test_the_guilty_word_comes_first_with_its_rates():
    rng, prompts, groups = draw(0)
    guilty = np.array(["painting" in p for p in prompts])[groups]
    flips = (rng.random(len(groups)) < np.where(guilty, 0.5, 0.1)).astype(float)
    first = lifts(prompts, flips, groups)[0]
    assert first.words == ("painting",)
    assert first.q <= 0.05
    assert (first.rate, first.rate_without) == (flips[guilty].mean(), flips[~guilty].mean())
    assert first.low < 0.4 < first.high
    assert first.n_pairs == guilty.sum()


def test_words_in_the_same_prompts_share_a_row_and_support_counts_both_ways():
    prompts = ["the old tree"] * 0 + [f"an old tree {i}" for i in range(12)] + [f"an egg {i}" for i in range(12)]
    found = lifts(prompts, np.tile([1.0, 0.0], 12), np.arange(24))
    assert {w.words for w in found} == {("old", "tree"), ("egg",)}
    assert lifts(["a b"], np.array([1.0, 0.0]), np.array([0, 0])) == []


def test_one_guilty_word_among_many_can_be_flagged():
    """Too few permutations for a hundred words are made more."""
    rng = np.random.default_rng(0)
    prompts = [" ".join([f"w{j}" for j in rng.permutation(100)[:20]] + ["bad"] * (i % 2)) for i in range(200)]
    found = lifts(prompts, np.arange(200) % 2 * 1.0, np.arange(200), permutations=100)
    assert [w.words for w in found if w.q <= 0.05] == [("bad",)]


def test_thousands_of_prompts_are_quick():
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{i}" for i in range(400)])
    prompts = [" ".join(vocabulary[rng.zipf(1.3, 12) % 400]) for _ in range(5000)]
    begun = time.process_time()
    lifts(prompts, (rng.random(5000) < 0.2).astype(float), np.arange(5000), permutations=2000)
    assert time.process_time() - begun < 15
