import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedpo.data.importing import shard_plan
from dedpo.data.importing.distinct_pairs import Pair
from dedpo.data.importing.shard_plan import FEWEST, GROWTH, capacity, plan_shards


def pairs_of(n: int, size: int = 10) -> list[Pair]:
    return [Pair(f"{i:024x}", "p", "x/0.png", "x/1.png", f"{i:064x}", "1", size, "p", i) for i in range(n)]


def sizes(planned: dict[str, list[Pair]]) -> list[int]:
    return [len(part) for part in planned.values()]


def test_shards_hold_so_many_rows_in_order():
    pairs = pairs_of(7)
    planned = plan_shards(pairs, source="s", shard_rows=3)
    assert sizes(planned) == [3, 3, 1]
    assert [p for part in planned.values() for p in part] == pairs


def test_a_shard_is_cut_before_its_images_fill_the_memory(monkeypatch):
    monkeypatch.setattr(shard_plan, "SHARD_BYTES", 25)
    planned = plan_shards([*pairs_of(4), *pairs_of(1, size=99)], source="s", shard_rows=100)
    assert sizes(planned) == [2, 2, 1]


def test_a_shards_name_is_its_content_and_not_what_its_files_are_called():
    first = plan_shards(pairs_of(3), source="s", shard_rows=3)
    assert list(first) == list(plan_shards(pairs_of(3), source="s", shard_rows=9))
    assert list(first) != list(plan_shards(pairs_of(4), source="s", shard_rows=9))
    assert list(first) != list(plan_shards(pairs_of(3), source="t", shard_rows=3))
    renamed = [Pair(p.pair_id, p.prompt, "y/7.png", "y/8.png", p.sha256_0, p.sha256_1, 10, "p") for p in pairs_of(3)]
    assert list(first) == list(plan_shards(renamed, source="s", shard_rows=3))


def test_sizes_grow_with_what_comes_before_and_no_further_than_asked():
    assert [capacity(p, 1000) for p in (0, FEWEST * GROWTH, FEWEST * GROWTH + GROWTH, 10**6)] == [32, 32, 33, 1000]
    planned = sizes(plan_shards(pairs_of(150_000), source="s", shard_rows=1000))
    assert planned[:64] == [FEWEST] * 64
    assert max(planned) == 1000
    assert len(planned) < 64 + GROWTH * math.log(150_000 / 2048) + 90


@given(st.lists(st.integers(1, 40), max_size=300), st.lists(st.integers(1, 40), max_size=60), st.integers(1, 50))
@settings(deadline=None)
def test_appended_rows_change_no_shard_but_the_last(before, appended, shard_rows):
    """Also where images cut shards short; the shards put together are the rows."""
    rows = [
        Pair(f"{i:024x}", "p", "", "", f"{i:064x}", "1", size, "p", i) for i, size in enumerate([*before, *appended])
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_plan, "SHARD_BYTES", 60)
        patch.setattr(shard_plan, "FEWEST", 4)
        patch.setattr(shard_plan, "GROWTH", 8)
        old = plan_shards(rows[: len(before)], source="s", shard_rows=shard_rows)
        new = plan_shards(rows, source="s", shard_rows=shard_rows)
    assert list(new)[: max(len(old) - 1, 0)] == list(old)[:-1]
    for planned, expected in ((old, rows[: len(before)]), (new, rows)):
        assert [p for part in planned.values() for p in part] == expected


@given(st.integers(2000, 20_000), st.integers(1, 10**9))
@settings(deadline=None, max_examples=10)
def test_appending_one_per_cent_writes_less_than_three_per_cent_anew(n, size):
    pairs = pairs_of(n + n // 100, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_plan, "SHARD_BYTES", 2**62)
        old = plan_shards(pairs[:n], source="s", shard_rows=1000)
        new = plan_shards(pairs, source="s", shard_rows=1000)
    moved = sum(p.size for name, part in new.items() if name not in old for p in part)
    assert moved < 0.03 * n * size
