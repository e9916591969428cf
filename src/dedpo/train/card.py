"""The model card of a policy: what it was made from, what was measured, how to load it, what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from dedpo.contract import model_names
from dedpo.contract.records.intervals import Counted
from dedpo.contract.records.targets import Bounds, Targets
from dedpo.contract.records.training import Training

# Measured → in words; others keep their names.
WORDS: Final = {
    "steps": "steps",
    "skipped_steps": "of them skipped, loss or gradient not being finite",
    "resolution": "side of the squares in pixels",
    "best_step": "step whose weights were kept",
    "pairs": "pairs trained on",
    "held_out_pairs": "held-out human pairs",
    "implicit_accuracy": "implicit accuracy on held-out human pairs (½: a guess)",
    "held_out_nll": "negative log-likelihood of held-out human pairs (log 2 = 0.693: a guess)",
    "drift": "‖θ − θ_ref‖ / ‖θ_ref‖",
    "loss": "last loss",
    "mean_abs_logit": "last mean |h|",
    "targets_outside_unit_interval": "share of targets outside [0, 1]",
    "pairs_set_aside": "pairs set aside, an image being unreadable",
    "pairs_enlarged": "pairs with an image that was enlarged",
    "pairs_cropped": "pairs with an image of which less than half is in the square",
    "prompts_cut_at_token_limit": "prompts cut at the text encoder's limit",
}
# Arms that correct the annotator; those that take its answers as they are.
_DEBIASED: Final = ("dedpo", "dedpo_tuned", "dedpo_ipo", "self_training", "self_training_split")
_IMPUTING: Final = ("dpo_synthetic", "dpo_synthetic_split", "cdpo", "rdpo")


def model_card(
    *,
    settings: Mapping[str, Any],
    targets: Targets,
    metrics: Training,
    inputs: Mapping[str, str],
    bases: Sequence[str],
    stopped: str | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """README.md of a policy's folder, with the front matter that the Hugging Face hub reads.

    The licence is left out: the base model's counts, and only people know whether the data adds to it.

    Args:
        settings: the section 'train' as it was used, and 'seed'.
        targets: content of targets.json.
        metrics: content of metrics.json.
        inputs: name → SHA-256; 'base' is among them if the base model is a folder.
        bases: the base model; where that is adapters, what they belong to, and so on down to a whole model.
        stopped: why training ended before its last step, if it did.
        warnings: what the training warned of, a line each.
    """
    found: Mapping[str, object] = metrics
    parts = [
        _front_matter(settings, is_on_hub="base" not in inputs),
        f"# {targets['arm']}, seed {settings['seed']}\n\n{_summary(settings, targets)}",
        f"## Load\n\n```python\n{_example(settings, metrics, bases)}\n```",
        f"## Data\n\n{_table('', _data(targets))}",
        f"## Measured\n\n{stopped[0].upper() + stopped[1:] + '.' if stopped else 'Trained to its last step.'}\n\n"
        f"{_table('', {WORDS.get(k, k): _shown(found[k]) for k in [*WORDS, *sorted(found)] if k in found})}",
        f"## Limits\n\n{_limits(settings, targets, warnings)}",
        f"## Settings\n\n```yaml\n{yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=True).strip()}\n```",
        f"## Inputs\n\n{_table('SHA-256', {f'`{k}`': f'`{v}`' for k, v in sorted(inputs.items())})}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(settings: Mapping[str, Any], *, is_on_hub: bool) -> str:
    is_lora = settings["lora"] is not None
    tags = ["text-to-image", "diffusers", "dpo", "dedpo", *(["lora"] if is_lora else [])]
    fields: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    # The hub refuses a card whose base_model is a path.
    if is_on_hub:
        fields |= {
            "base_model": model_names.model(settings["base"]).name,
            "base_model_relation": "adapter" if is_lora else "finetune",
        }
    return f"---\n{yaml.safe_dump(fields | {'tags': tags}, sort_keys=False).strip()}\n---"


def _summary(settings: Mapping[str, Any], targets: Targets) -> str:
    what = "Low-rank adapters for" if settings["lora"] is not None else "Tuned from"
    text = (
        f"{what} `{settings['base']}`, trained by dedpo on the arm `{targets['arm']}`: "
        f"{targets['n_labelled']} human-labelled of {targets['n']} preference pairs"
    )
    if targets["power"]:
        text += f", the annotator's answers at power λ = {targets['power']:.3g}"
    if targets["n_eff"] is not None:
        text += f", worth {targets['n_eff']:.0f} effective human labels"
    return text + "."


def _example(settings: Mapping[str, Any], metrics: Training, bases: Sequence[str]) -> str:
    this, load = "path/to/this/folder", "from diffusers import DiffusionPipeline\n\n"
    if settings["lora"] is None:
        load += f'pipeline = DiffusionPipeline.from_pretrained("{this}")\n'
    else:
        name, revision = model_names.model(bases[-1])
        options = {"revision": revision, "variant": settings["variant"]}
        given = "".join(f', {key}="{value}"' for key, value in options.items() if value)
        load += f'pipeline = DiffusionPipeline.from_pretrained("{name}"{given})\n'
        for adapters in bases[-2::-1]:
            load += f'pipeline.load_lora_weights("{adapters}")\npipeline.fuse_lora()\npipeline.unload_lora_weights()\n'
        load += f'pipeline.load_lora_weights("{this}")\n'
    side = metrics["resolution"]
    return f'{load}image = pipeline("a red fox in the snow", height={side}, width={side}).images[0]'


def _data(targets: Targets) -> dict[str, str]:
    accuracy = targets["accuracy"]
    rows = {
        "preference pairs": _shown(targets["n"]),
        "of them human-labelled": _shown(targets["n_labelled"]),
        "set aside, lacking what the arm needs": _shown(targets["set_aside"]),
        "annotator": targets["annotator"],
        "power λ": _shown(targets["power"]),
        "effective human labels n_eff": _shown(targets["n_eff"]) + _range(targets["n_eff_interval"], ""),
    }
    if accuracy["value"] is not None:
        rows["the annotator's accuracy on labelled pairs"] = f"{accuracy['value']:.1%}" + _range(accuracy, "%")
    return rows


def _range(interval: Bounds | Counted, unit: str) -> str:
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return ""
    return f" ({low:.1%} to {high:.1%})" if unit == "%" else f" ({low:g} to {high:g})"


def _limits(settings: Mapping[str, Any], targets: Targets, warnings: Sequence[str]) -> str:
    lines = [
        "It prefers what the raters and the annotator of these pairs preferred, and nobody else was asked.",
        "It keeps the base model's knowledge, gaps and licence, and has no filter that the base model lacks.",
        "The numbers above are about preferences between given images; what it draws has to be judged by samples.",
    ]
    if targets["arm"] in _IMPUTING:
        lines.append("This arm takes the annotator's answers as they are: the annotator's bias is in the policy.")
    if targets["arm"] in _DEBIASED and settings["guard"] is None and targets["objective"] != "ipo":
        lines.append("Its loss has no lower bound and no guard was set: see the mean |h| before trusting it.")
    return "\n".join(f"- {line}" for line in [*lines, *targets["warnings"], *warnings])


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: str, rows: Mapping[str, str]) -> str:
    # A name with a bar in it would open a column of its own.
    lines = [f"| {k.replace('|', chr(92) + '|')} | {v.replace('|', chr(92) + '|')} |" for k, v in rows.items()]
    return "\n".join([f"| | {head} |", "|---|---|", *lines])
