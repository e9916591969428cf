"""A small finished run, written through the contract: what the report reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dedpo.contract import tables
from dedpo.contract.records.bias import Bias
from dedpo.contract.records.data import Imported
from dedpo.contract.records.evaluation import Verdicts
from dedpo.contract.records.labels import Labels
from dedpo.contract.records.targets import Targets
from dedpo.contract.records.training import Training
from dedpo.contract.records.trust import Trust, Trusted
from dedpo.outputs.manifest import output_folder, write_json
from dedpo.vision import images
from tests.records import record

ARMS = ("sft", "dpo_human", "dpo_synthetic", "dedpo", "dedpo_tuned")
GAIN = {"reference": 0.0, "sft": 0.1, "dpo_human": 0.4, "dpo_synthetic": 0.4, "dedpo": 0.5, "dedpo_tuned": 0.7}
PLAIN = [f"a photo of thing {i}" for i in range(12)]
HOSTILE = ["<script>alert(1)</script>", "=cmd()|' /C calc'!A0", "x" * 10_000, "[a](http://evil.example/) {{ 7*7 }} | `"]


def write(
    root: Path, seeds: Sequence[int] = (0, 1, 2), prompts: Sequence[str] = PLAIN, side: int = 16
) -> dict[str, Any]:
    """Write every folder below `root`; return the keyword arguments of report.stage.run (without out)."""
    rng = np.random.default_rng(0)
    models = ["reference", *(f"{arm}-{seed}" for seed in seeds for arm in ARMS)]
    with _output(root / "samples", "sample") as folder:
        for model in models:
            tables.write(_samples(model, prompts, side), tables.SAMPLES, folder / f"samples-{model}.parquet")
    with _output(root / "scores", "score") as folder:
        tables.write(_scores(models, prompts, rng), tables.SCORES, folder / "scores.parquet")
    with _output(root / "data", "data import") as folder:
        write_json(folder / "summary.json", record(Imported, pairs=200, notes=["<script>alert(2)</script>"]))
    with _output(root / "labels", "label") as folder:
        write_json(folder / "summary.json", record(Labels, requests=4004))
    with _output(root / "bias", "bias") as folder:
        write_json(folder / "bias.json", bias())
        (folder / "bias.html").write_text("<!doctype html>")
    with _output(root / "verdicts", "judge") as folder:
        tables.write(verdicts(prompts, seeds[0]), tables.VERDICTS, folder / "verdicts.parquet")
        took = {"requests": 40, "input_tokens": 20_000, "output_tokens": 900, "dollars": 0.00825}
        write_json(folder / "summary.json", record(Verdicts, judge="a-judge", **took))
    for seed in seeds:
        with _output(root / "targets" / str(seed), "targets") as folder:
            for arm in ARMS:
                (folder / arm).mkdir()
                write_json(folder / arm / "targets.json", targets(arm, seed))
            write_json(folder / "trust.json", trust())
        for arm in ARMS:
            with _output(root / "policies" / str(seed) / arm, "train") as folder:
                measured = {"drift": 0.01, "implicit_accuracy": 0.7 + seed / 100, "held_out_nll": 0.6}
                write_json(folder / "metrics.json", record(Training, **measured))
                (folder / "metrics.jsonl").write_text("".join(json.dumps(_log(i, arm)) + "\n" for i in range(100)))
    return {"primary": "dedpo_tuned"} | {
        name: root / name for name in ("samples", "scores", "policies", "targets", "labels", "data", "bias", "verdicts")
    }


def targets(arm: str, seed: int) -> dict[str, Any]:
    """One targets.json."""
    debiased = arm.startswith("dedpo")
    return record(
        Targets,
        arm=arm,
        objective="preference",
        annotator="vlm",
        n_labelled=50,
        n=200,
        power=0.6 + seed / 10 if debiased else 0.0,
        n_eff=80.0 if debiased else 50.0,
        regime="probe",
        accuracy={"value": 0.8, "low": 0.7, "high": 0.9, "n": 48} if debiased else {},
        warnings=[f"<b>weak</b> annotator for {arm}"] if arm == "dedpo" else [],
    )


def trust() -> dict[str, Any]:
    """One trust.json: two annotators, one of an evil name, and both together."""
    agreement = {"value": 0.83, "low": 0.71, "high": 0.91, "n": 48}
    asking = {"answered": 200, "consistency": agreement, "first": agreement, "mass": 0.97, "requests": 2.1}
    mine = {"agreement": agreement, "power": 0.7, "n_eff": 81.0, "n_eff_interval": {"low": 60.0, "high": 120.0}}
    one = record(Trusted, **mine, calibration_error=0.12, asking=asking, n_eff_without=66.0, n_eff_one_order=77.0)
    names = "vlm", "<script>alert(6)</script>"
    return record(Trust, n=200, n_labelled=50, ess=50.0, annotators=dict.fromkeys(names, one)) | {
        "together": record(Trusted, **mine)
    }


def bias(word: str = "painting") -> dict[str, Any]:
    """One bias.json: the annotator leans to the softer image where a prompt has `word`."""

    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.08, "high": value + 0.08}

    def panel(title: str, humans: Sequence[float], annotators: Sequence[float]) -> dict[str, Any]:
        bins = [
            {"x": x, "n": 90, "human": share(h), "annotator": share(a)}
            for x, h, a in zip((-1.4, -0.5, 0.0, 0.5, 1.4), humans, annotators, strict=True)
        ]
        return {"title": title, "n": 450, "bins": bins}

    people = (0.19, 0.35, 0.45, 0.61, 0.82)
    return record(
        Bias,
        annotator="vlm",
        headline=f"vlm errs on prompts with “{word}”: it agrees with people on 64 % of them and on 91 % of the "
        "others; there it prefers the softer image where people prefer the sharper (sharpness).",
        agreement=share(0.85) | {"n": 2000, "kappa": 0.703},
        position_bias=share(0.0) | {"consistency": share(0.9), "n": 2000},
        picture={
            "property": "sharpness",
            "word": word,
            "panels": [
                panel(f"prompts with “{word}”", people, (0.7, 0.66, 0.48, 0.46, 0.24)),
                panel("all other prompts", people, (0.17, 0.33, 0.46, 0.63, 0.84)),
            ],
        },
        words=[
            {"word": w, "n_prompts": 80, "disagreement": d, "disagreement_without": 0.1, "lift": d - 0.1}
            | {"low": d - 0.15, "high": d - 0.05, "flagged": d > 0.2}
            for w, d in ((word, 0.36), ("photo", 0.12))
        ],
    )


def verdicts(
    prompts: Sequence[str], seed: int, rationale: str = "<script>alert(3)</script> | [a](http://evil.example/)"
) -> pa.Table:
    """Of three rivals and three criteria: the primary arm wins of four prompts two, ties one and loses one."""
    rows = [
        {
            "judge": "a-judge",
            "model_0": rival,
            "model_1": f"dedpo_tuned-{seed}",
            "prompt_id": _id(prompt),
            "seed": 0,
            "criterion": criterion,
            "order": "01" if i % 2 else "10",
            "winner": ("1", "1", "tie", "0")[i % 4],
            "rationale": rationale,
            "error": None,
        }
        for rival in (f"dpo_synthetic-{seed}", f"dpo_human-{seed}", "reference")
        for criterion in ("general_preference", "prompt_alignment", "visual_appeal")
        for i, prompt in enumerate(prompts)
    ]
    return pa.Table.from_pylist(rows, schema=tables.VERDICTS.schema)


def _output(path: Path, stage: str) -> Any:
    return output_folder(path, stage=stage, config={"note": "</pre><script>"}, inputs={})


def _id(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def _samples(model: str, prompts: Sequence[str], side: int) -> pa.Table:
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    rows = [
        {
            "model": model,
            "prompt_id": _id(prompt),
            "seed": seed,
            "prompt": prompt,
            "image": {"bytes": images.encode_png(Image.fromarray(picture)), "path": None},
        }
        for prompt in prompts
        for seed in (0, 1)
    ]
    return pa.Table.from_pylist(rows, schema=tables.SAMPLES.schema)


def _scores(models: Sequence[str], prompts: Sequence[str], rng: np.random.Generator) -> pa.Table:
    rows = []
    for model in models:
        gain = GAIN[model.rpartition("-")[0] or model]
        for i, prompt in enumerate(prompts):
            for seed in (0, 1):
                key = {"model": model, "prompt_id": _id(prompt), "seed": seed}
                rows.append(key | {"metric": "human_oracle", "value": gain + np.sin(i) + 0.1 * rng.normal()})
                rows.append(key | {"metric": "adherence", "value": 0.5 - gain / 10 + 0.1 * rng.normal()})
    return pa.Table.from_pylist(rows, schema=tables.SCORES.schema)


def _log(step: int, arm: str) -> dict[str, float]:
    row = {"step": step, "loss": 0.69 - step * GAIN[arm] / 500, "mean_abs_logit": step / 100}
    return row | ({"implicit_accuracy": 0.5 + step / 500, "held_out_nll": 0.69} if step % 20 == 19 else {})
