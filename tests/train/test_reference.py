"""Shared reference errors: found again by pair and visit, never mixed, and the same as without sharing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dedpo.train.backbone import NoiseSchedule, denoising_error
from dedpo.train.cache import Cache, open_or_build
from dedpo.train.draws import draw
from dedpo.train.objective import logit
from dedpo.train.reference import ReferenceErrors, reference_key
from dedpo.vision import diffusion
from tests.fixtures import write_tables

BETA = 5000


@pytest.fixture(scope="module")
def pipeline(sd: Path) -> Any:
    return diffusion.load(str(sd), "here")


@pytest.fixture(scope="module")
def cache(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("reference")
    write_tables(folder, n=12, n_labelled=4, n_holdout=2)
    return open_or_build(folder / "cache", folder / "data" / "pairs", pipeline, 16, 10**6)


@pytest.fixture
def errors(cache: Cache, tmp_path: Path) -> ReferenceErrors:
    """An empty store of its own."""
    return ReferenceErrors(cache, tmp_path.name, seed=0)


def test_what_was_put_is_found_by_pair_and_visit(cache: Cache, errors: ReferenceErrors) -> None:
    ids = list(cache.row)
    assert np.isnan(errors.get(ids, [0] * len(ids))).all()
    values = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    errors.put([ids[3], ids[0], ids[3]], [0, 7, 2], values)
    found = errors.get([ids[0], ids[3], ids[3], ids[3], ids[1]], [7, 0, 1, 2, 7])
    np.testing.assert_array_equal(found[:, [0, 1, 3]], values[:, [1, 0, 2]])
    assert np.isnan(found[:, [2, 4]]).all()
    assert found.shape == (2, 5)
    assert found.dtype == np.float32


def test_the_first_to_write_wins_and_the_others_are_told(cache: Cache, errors: ReferenceErrors) -> None:
    ids = list(cache.row)[:2]
    one = np.full((2, 1), 0.5, dtype=np.float32)
    np.testing.assert_array_equal(errors.put(ids[:1], [4], one), one)
    found = errors.put(ids, [4, 4], np.full((2, 2), 0.75, dtype=np.float32))
    np.testing.assert_array_equal(found, [[0.5, 0.75]] * 2)
    np.testing.assert_array_equal(errors.get(ids, [4, 4]), found)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_kept(bad: float, cache: Cache, errors: ReferenceErrors) -> None:
    ids = list(cache.row)[:2]
    values = np.array([[1, 1], [1, bad]], dtype=np.float32)
    np.testing.assert_array_equal(errors.put(ids, [0, 0], values), values)
    found = errors.get(ids, [0, 0])
    assert (found[:, 0] == 1).all()
    assert np.isnan(found[:, 1]).all()


def test_seeds_and_keys_do_not_mix(cache: Cache, errors: ReferenceErrors, tmp_path: Path) -> None:
    pair = list(cache.row)[:1]
    errors.put(pair, [0], np.ones((2, 1), dtype=np.float32))
    assert (ReferenceErrors(cache, tmp_path.name, seed=0).get(pair, [0]) == 1).all()
    for other in (ReferenceErrors(cache, tmp_path.name, seed=-1), ReferenceErrors(cache, "other", seed=0)):
        assert np.isnan(other.get(pair, [0])).all()


def test_the_key_tells_weights_schedules_and_precisions_apart(sd: Path, sd_velocity: Path) -> None:
    first, velocity = diffusion.load(str(sd), "here"), diffusion.load(str(sd_velocity), "here")
    schedule = NoiseSchedule(first.scheduler)
    key = reference_key(first.unet, schedule, "fp32")
    assert key == reference_key(velocity.unet, NoiseSchedule(first.scheduler), "fp32")
    assert key != reference_key(first.unet, schedule, "bf16")
    assert key != reference_key(first.unet, NoiseSchedule(velocity.scheduler), "fp32")
    with torch.no_grad():
        next(first.unet.parameters()).view(-1)[0] += 1e-3
    assert key != reference_key(first.unet, schedule, "fp32")


def _fill(errors: ReferenceErrors, ids: Sequence[str], value: float) -> None:
    for visit in range(60):
        kept = errors.put(ids, [visit] * len(ids), np.full((2, len(ids)), value, dtype=np.float32))
        assert (kept == errors.get(ids, [visit] * len(ids))).all()


def test_several_processes_write_at_once(cache: Cache, errors: ReferenceErrors) -> None:
    """Whoever comes first, both images' errors are of one writer, and each writer takes what is kept."""
    ids = list(cache.row)
    spawn = multiprocessing.get_context("fork").Process
    children = [spawn(target=_fill, args=(errors, ids[::step], value)) for step, value in ((1, 1.0), (-1, 2.0))]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    found = np.stack([errors.get(ids, [visit] * len(ids)) for visit in range(60)])
    assert np.isin(found, [1, 2]).all()
    assert (found[:, 0] == found[:, 1]).all()


def _online(pipeline: Any, cache: Cache, ids: Sequence[str], visits: Sequence[int]) -> torch.Tensor:
    schedule = NoiseSchedule(pipeline.scheduler)
    draws = [draw(0, p, v, cache.latent_shape, schedule.timesteps) for p, v in zip(ids, visits, strict=True)]
    moments, conditioning = cache.batch(ids, [False] * len(ids))
    latents = moments[:, :, 0] + moments[:, :, 1] * np.stack([d.posterior for d in draws])
    with torch.no_grad():
        return denoising_error(
            pipeline.unet,
            schedule,
            torch.from_numpy(latents.swapaxes(0, 1).copy()),
            torch.from_numpy(np.stack([d.noise for d in draws])),
            torch.tensor([d.timestep for d in draws]),
            conditioning,
        )


def test_shared_is_online_within_tolerance(pipeline: Any, cache: Cache, errors: ReferenceErrors) -> None:
    """At step 0 the policy is the reference: h is 0 but for the rounding of another batch size, sd(h) below 0.002."""
    ids = list(cache.row)
    for visit in range(4):
        for pair in ids:
            errors.put([pair], [visit], _online(pipeline, cache, [pair], [visit]).numpy())
    logits = []
    for visit in range(4):
        shared = torch.from_numpy(errors.get(ids, [visit] * len(ids)))
        logits.append(logit(_online(pipeline, cache, ids, [visit] * len(ids)), shared, BETA))
    h = torch.cat(logits)
    assert h.isfinite().all()
    assert float(h.std()) < 0.002
    # A wrong cell would show: other visits' errors give logits in the hundreds.
    other = torch.from_numpy(errors.get(ids, [0] * len(ids)))
    assert float(logit(_online(pipeline, cache, ids, [1] * len(ids)), other, BETA).std()) > 10
