import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedpo.rng import generator

keys = st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=3)


@given(keys, st.integers(0, 2**32))
def test_a_stream_is_a_function_of_its_key(key, counter):
    first = generator(*key, counter=counter).random(3)
    assert np.array_equal(first, generator(*key, counter=counter).random(3))


@given(keys, keys)
def test_different_keys_give_different_streams(one, two):
    if [str(k) for k in one] != [str(k) for k in two]:
        assert not np.array_equal(generator(*one).random(3), generator(*two).random(3))


def test_parts_of_a_key_do_not_run_together():
    assert generator("a", "b").random() != generator("ab").random()
    assert generator(1, 23).random() != generator(12, 3).random()


def test_counters_give_streams_that_do_not_overlap():
    drawn = [generator("draw", counter=c).integers(0, 2**63, 1000) for c in range(20)]
    assert len(np.unique(np.concatenate(drawn))) == 20_000


def test_streams_are_uniform_and_unrelated():
    first = np.array([generator("a", i).random() for i in range(2000)])
    second = np.array([generator("b", i).random() for i in range(2000)])
    assert abs(first.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 2000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(2000)


def test_another_process_draws_the_same():
    script = "from dedpo.rng import generator; print(generator('labelled', 7, counter=3).random())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) == generator("labelled", 7, counter=3).random()
