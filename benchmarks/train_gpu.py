"""One case of the GPU part of `benchmarks/train.py`, in a process of its own: python benchmarks/train_gpu.py CASE.

Model FLOPs count a forward pass per image and two for the backward one (one with adapters: the frozen weights need no
gradient), not what gradient checkpointing computes again; the share is of an H100's 790 TFLOP/s in bf16.
"""

from __future__ import annotations

import gc
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from train_loops import naive, trainer
from train_models import SD15, SDXL, TINY, TOKENS, Shape, bench

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.train.encoding import Encoder

PEAK_FLOPS = 790e12
WARM_UP, STEPS = 2, 4
PAIRS_TO_ENCODE = 1000


@dataclass(frozen=True)
class Case:
    """What to measure: `kind` is 'full', 'lora', 'scripts' (the research scripts' loop) or 'cache' (encoding)."""

    shape: Shape
    kind: str
    batch_size: int
    compile: bool = False


CASES = {
    f"{shape.name}_{kind}{'_compiled' * compiled}": Case(shape, kind, batch, compiled)
    for shape, batch in ((SD15, 64), (SDXL, 16))
    for kind in ("full", "lora", "scripts", "cache")
    for compiled in ((False, True) if kind in ("full", "lora") else (False,))
}


def measure(case: Case, device: torch.device) -> dict[str, Any]:
    """With the largest micro-batch that fits."""
    if case.kind == "cache":
        return encoding(case.shape, device)
    size = case.batch_size
    while True:
        try:
            return {"micro_batch": size, **steps(case, size, device)}
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        # Outside of the handler, which would keep the failed attempt alive.
        size //= 2
        gc.collect()
        torch.cuda.empty_cache()


def steps(case: Case, micro_batch: int, device: torch.device) -> dict[str, Any]:
    config = TrainConfig(
        batch_size=case.batch_size,
        micro_batch=micro_batch,
        learning_rate=1e-7,
        optimizer=case.shape.optimizer,
        precision="bf16",
        gradient_checkpointing=case.shape.checkpointing,
        compile=case.compile,
        lora=LoraConfig() if case.kind == "lora" else None,
    )
    with tempfile.TemporaryDirectory(prefix="dedpo-bench-") as folder:
        setting = bench(case.shape, Path(folder), case.batch_size * (WARM_UP + STEPS), config)
        if case.kind == "scripts":
            step: Callable[[int], object] = naive(setting, device, torch.bfloat16)
        else:
            step = trainer(setting, Accelerator(mixed_precision="bf16", cpu=device.type == "cpu")).step
        for number in range(WARM_UP):
            step(number)
        found = _speed("", case, seconds(step, device), with_reference=True)
        if case.kind != "scripts":
            # The same steps again: by now the reference's errors are known, as to a second arm.
            found |= _speed("shared_reference_", case, seconds(step, device), with_reference=False)
        if device.type == "cuda":
            found |= {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1), "kernels": kernels(step)}
    return found


def seconds(step: Callable[[int], object], device: torch.device) -> float:
    """A step."""
    _wait(device)
    begun = time.perf_counter()
    for number in range(WARM_UP, WARM_UP + STEPS):
        step(number)
    _wait(device)
    return (time.perf_counter() - begun) / STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _speed(name: str, case: Case, a_step: float, *, with_reference: bool) -> dict[str, float]:
    passes = (2 if case.kind == "lora" else 3) + with_reference
    flops = case.batch_size * 2 * passes * case.shape.forward_flops() / a_step
    return {
        f"{name}pairs_per_second": round(case.batch_size / a_step, 2),
        f"{name}tflops": round(flops / 1e12, 1),
        f"{name}share_of_peak": round(flops / PEAK_FLOPS, 3),
    }


def kernels(step: Callable[[int], object]) -> dict[str, float]:
    """Shares of a step's wall time: the ten kernels that took most, all kernels together, and nothing on the GPU."""
    begun = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        step(WARM_UP)
        torch.cuda.synchronize()
    wall = time.perf_counter() - begun
    took = {event.key: event.self_device_time_total / 1e6 for event in found.key_averages()}
    most = sorted(took, key=lambda key: -took[key])[:10]
    busy = sum(took.values())
    shares = {"all": busy / wall, "idle": max(0.0, 1 - busy / wall)} | {key[:80]: took[key] / wall for key in most}
    return {key: round(value, 3) for key, value in shares.items()}


def encoding(shape: Shape, device: torch.device, n: int = PAIRS_TO_ENCODE) -> dict[str, Any]:
    """Seconds for the cache of `n` pairs: decoding and VAE as in a real build, text encoders on as many prompts."""
    with device:
        vae, texts = shape.make_vae(), shape.make_texts()
    rows = pa.table({f"image_{k}": [{"bytes": _jpeg(shape.side, k), "path": None}] * n for k in (0, 1)})
    encoder = Encoder(SimpleNamespace(vae=vae), shape.side, 10**8, flip=False)
    list(encoder.pairs(rows.slice(0, 8)))
    _wait(device)
    begun = time.perf_counter()
    encoded = sum(moments.nbytes for moments in encoder.pairs(rows))
    ids = torch.randint(texts[0].config.vocab_size, (min(n, 64), TOKENS), device=device)
    with torch.no_grad():
        for text in texts:
            for _ in range(0, n, len(ids)):
                text(ids)
    _wait(device)
    took = time.perf_counter() - begun
    total = encoded + 4 * n * (TOKENS * shape.width + (shape.pooled_width or 0))
    assert total == n * shape.bytes_a_pair()
    return {"pairs": n, "bytes": total, "seconds": round(took, 1), "hours_for_100000": round(took / n * 1e5 / 3600, 2)}


def _jpeg(side: int, seed: int) -> bytes:
    """A blurred picture: noise would take longer to decode than any photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main() -> None:
    name = sys.argv[1]
    if name == "rehearsal":
        # Every line but the profiler's, on the tiny model, where there is no GPU.
        tiny = replace(TINY, checkpointing=True)
        cases = [Case(tiny, kind, 4) for kind in ("full", "lora", "scripts")]
        found: Any = {case.kind: measure(case, torch.device("cpu")) for case in cases}
        found["cache"] = encoding(tiny, torch.device("cpu"), 10)
    else:
        found = measure(CASES[name], torch.device("cuda"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
