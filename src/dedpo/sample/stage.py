"""Pictures of every model for the same prompts from the same initial noise."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedpo.contract import tables
from dedpo.contract.records.evaluation import Sampled, Samples
from dedpo.contract.sections import SampleConfig
from dedpo.contract.tables import VALIDATION
from dedpo.errors import UserError, excerpt
from dedpo.outputs import origin
from dedpo.outputs.manifest import MANIFEST, input_hashes, note_run, output_folder, write_json
from dedpo.sample import shard_files
from dedpo.terminal import Advance, note, note_kept, progress
from dedpo.vision.memory import memory_errors

if TYPE_CHECKING:
    import torch

    from dedpo.sample.sampler import Request

REFERENCE = "reference"
BF16 = "sample.precision=bf16; finished models stay"
_CHOOSES_NOTHING = (
    "sample: sample.validation_prompts are not drawn: they choose each arm's best step, and no policy among "
    "sample.snapshots has any; train with train.snapshots=3"
)
_NOT_CHOSEN = (
    "sample: snapshots are drawn, and no best step is chosen among them: name other prompts with "
    "sample.validation_prompts"
)
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")


def run(config: SampleConfig, *, models: dict[str, str], out: Path, chosen_among: Collection[str] = ()) -> Sampled:
    """Write `samples-<model>.parquet` for every model, and summary.json; validation/ likewise for other prompts.

    Pictures that `out` holds, or that a killed run has left, are kept where they would come out the same: another model
    beside the others, or more prompts after the others, draw only what is new.

    Args:
        models: name → diffusers folder or hub id, such as {'reference': 'models/shapes-sd', 'dedpo-0': …}.
        chosen_among: names of the models that are drawn on `sample.validation_prompts`, too, at the first seed.

    Returns:
        the content of summary.json; and how much was drawn and carried over.

    Raises:
        UserError: no usable prompts, a bad model name, a model that cannot be loaded or gives no finite pictures.
    """
    prompts, dropped = read_prompts(Path(config.prompts))
    sets = {"": (config, prompts, models)}
    if bool(config.validation_prompts) != bool(chosen_among):
        note(_CHOOSES_NOTHING if config.validation_prompts else _NOT_CHOSEN)
    if config.validation_prompts and chosen_among:
        others = _validation_prompts(config.validation_prompts, prompts)
        first = config.model_copy(update={"seeds": config.seeds[:1]})
        sets[VALIDATION] = (first, others, {name: models[name] for name in chosen_among})
    _check_models(models, config)
    named: dict[str, str | None] = {f"model {name}": source for name, source in models.items()}
    named["vae"] = config.vae
    here, on_hub = origin.split_models(named)
    inputs = {"prompts": Path(config.prompts)} | here
    if VALIDATION in sets:
        inputs["validation_prompts"] = Path(str(config.validation_prompts))
    settings = config.model_dump() | {"models": models}
    with output_folder(
        out,
        stage="sample",
        config=settings,
        inputs=inputs,
        models=on_hub,
        resumable=True,
        lasting=("samples-*.parquet", VALIDATION),
    ) as partial:
        contents = input_hashes(partial) | origin.hub_commits(on_hub)
        if VALIDATION not in sets:
            shutil.rmtree(partial / VALIDATION, ignore_errors=True)
        cut, drawn = 0, 0
        for folder, (settled, asked, drawing) in sets.items():
            (partial / folder).mkdir(exist_ok=True)
            found = _sample_models(settled, drawing, contents, asked, partial / folder, out / folder)
            drawn += found[1]
            cut = cut if folder else found[0]
        pictures = sum(len(c.seeds) * len(asked) * len(drawing) for c, asked, drawing in sets.values())
        summary: Samples = {
            "models": sorted(models),
            "prompts": len(prompts),
            "seeds": config.seeds,
            "pictures": pictures,
            "duplicate_prompts_dropped": dropped,
            "prompts_cut_at_token_limit": cut,
        }
        write_json(partial / "summary.json", summary)
        kept = pictures - drawn
        note_run(partial, {"drawn": drawn, "carried_over": kept})
    return {**summary, "drawn": drawn, "carried_over": kept}


def read_prompts(path: Path, setting: str = "sample.prompts") -> tuple[list[str], int]:
    """The prompts of a text file, one a line, in order; blank lines are skipped.

    Returns:
        distinct prompts, and how many repetitions were dropped.

    Raises:
        UserError: no such file, not UTF-8, or no prompt in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{setting}: {path}: {error.strerror or error}; name a text file with one prompt a line"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{setting}: {path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    # Not splitlines(), which also breaks a prompt at form feeds and other rarities.
    lines = [line.strip() for line in text.split("\n")]
    filled = [line for line in lines if line]
    if not filled:
        raise UserError(f"{setting}: {path} holds no prompt; write one a line")
    prompts = list(dict.fromkeys(filled))
    return prompts, len(filled) - len(prompts)


def _validation_prompts(path: str, test: Collection[str]) -> list[str]:
    prompts, _ = read_prompts(Path(path), "sample.validation_prompts")
    if shared := [prompt for prompt in prompts if prompt in set(test)]:
        raise UserError(
            f"sample.validation_prompts: {path}: {len(shared)} of its prompts are among sample.prompts, such as "
            f"'{excerpt(shared[0], 80)}'; what was chosen on a prompt cannot be judged by it: take them out of one file"
        )
    return prompts


def _check_models(models: dict[str, str], config: SampleConfig) -> None:
    if not models:
        raise UserError("sample: no model to sample; name at least one, such as the reference")
    for name in models:
        if not _MODEL_NAME.fullmatch(name):
            raise UserError(
                f"sample: model name {name!r}: use letters, digits, '.', '_', '@' and '-' (it names a file)"
            )
    if len(set(config.seeds)) < len(config.seeds):
        raise UserError(f"sample.seeds holds a value twice: {config.seeds}; the second would repeat its pictures")


@dataclass(frozen=True)
class _Shard:
    """One model's pictures: what of them is there already, and where."""

    file: str
    mark: str | None
    source: Path
    kept: list[Request]
    is_whole: bool


def _shard(
    name: str,
    contents: Mapping[str, Any],
    config: SampleConfig,
    device: str,
    requests: Sequence[Request],
    folders: Sequence[Path],
) -> _Shard:
    file = f"samples-{name}.parquet"
    mark = shard_files.made_from(config, contents[f"model {name}"], contents.get("vae"), device)
    found = {folder / file: shard_files.kept(folder / file, mark, requests) for folder in folders}
    source = max(found, key=lambda path: len(found[path]))
    kept = found[source]
    is_whole = len(kept) == len(requests) == tables.count_rows(source) if kept else False
    return _Shard(file, mark, source, kept, is_whole)


def _sample_models(
    config: SampleConfig,
    models: dict[str, str],
    contents: Mapping[str, Any],
    prompts: list[str],
    partial: Path,
    out: Path,
) -> tuple[int, int]:
    """Write every shard; return how many prompts a model cuts at its token limit, and how many pictures were drawn.

    Args:
        contents: what is known of the content of 'model <name>' and 'vae'.
    """
    from dedpo.sample import sampler
    from dedpo.vision import diffusion
    from dedpo.vision.device import choose_device

    # All names first: a policy that is missing must not be found out after hours of sampling the others.
    for name, source in models.items():
        diffusion.check_name(source, f"model '{name}'")
    device = choose_device(config.device)
    if config.precision == "fp16" and device.type == "cpu":
        raise UserError("sample.precision fp16: it needs a GPU; set sample.precision=bf16 or fp32")
    _note_bases(models, contents)
    requests = [sampler.Request(prompt, seed) for prompt in prompts for seed in config.seeds]
    shards = {name: _shard(name, contents, config, device.type, requests, [partial, out]) for name in models}
    for stray in set(partial.glob("samples-*.parquet")) - {partial / shard.file for shard in shards.values()}:
        stray.unlink()
    total, done = len(models) * len(requests), sum(len(shard.kept) for shard in shards.values())
    note_kept("sample", "pictures", done, total, "to draw")
    cut = None
    sides = {shard_files.side(shard.source): name for name, shard in shards.items() if shard.kept}
    with progress(f"sampling {len(models)} models", total, done) as advance:
        # One whole pipeline a model: loading takes a fraction of what sampling takes, and nothing is shared by mistake.
        for name, shard in shards.items():
            target = partial / shard.file
            if shard.source == target and shard.is_whole:
                continue
            pictures = shard_files.read(shard.source, shard.kept) if shard.kept else {}
            if missing := [request for request in requests if request not in pictures]:
                pipeline, side = _loaded(config, name, models[name], device)
                sides[side] = name
                if len(sides) > 1:
                    raise UserError(_unequal(sides))
                pictures |= _draw(config, name, models[name], pipeline, missing, side, advance)
                cut = len(diffusion.too_long(pipeline, prompts)) if cut is None else cut
            shard_files.write(name, requests, pictures, shard.mark, target)
        if cut is None:
            name = next(iter(models))
            cut = len(diffusion.too_long(diffusion.load(models[name], f"model '{name}'"), prompts))
    return cut, total - done


def _loaded(config: SampleConfig, name: str, source: str, device: torch.device) -> tuple[Any, int]:
    """A model's pipeline, and the side in pixels of what it is to draw; says so if that is not the model's own."""
    from dedpo.sample import sampler
    from dedpo.vision import diffusion

    place = f"model '{name}'"
    pipeline = sampler.load(
        source, place, device, variant=config.variant if name == REFERENCE else None, vae=config.vae
    )
    side = config.resolution or diffusion.side(pipeline, f"{place}: {source}", "sample.resolution")
    with suppress(UserError):  # some do not say which size is theirs
        if (own := diffusion.side(pipeline, place)) != side:
            note(f"warning: {place} was made for {own} pixels and is drawn at {side} (sample.resolution)")
    return pipeline, side


def _draw(
    config: SampleConfig,
    name: str,
    source: str,
    pipeline: Any,
    requests: Sequence[Request],
    side: int,
    advance: Advance,
) -> dict[tuple[str, int], bytes]:
    """The encoded pictures of one model."""
    from PIL import Image

    from dedpo.sample import sampler
    from dedpo.vision.images import encode_png

    device = pipeline.unet.device
    # A CPU's group is fixed, so that its pictures are the same on every one.
    remedy = f"set {BF16}" if device.type == "cpu" else f"lower sample.batch_size, or set {BF16}"
    encoded: dict[tuple[str, int], bytes] = {}
    try:
        with memory_errors(f"sample: {sampler.group_size(config, device)} pictures at a time", remedy):
            pictures = sampler.sample(pipeline, requests, config, side)
            for request, array in zip(requests, pictures, strict=True):
                encoded[request] = encode_png(Image.fromarray(array))
                advance(name)
    except sampler.NotFiniteError as error:
        raise UserError(f"model '{name}' ({source}): {error}{_why(name, pipeline)}") from None
    return encoded


def _note_bases(models: Mapping[str, str], contents: Mapping[str, Any]) -> None:
    """Say of policies that were trained from something else than what now is drawn as the reference."""
    reference = contents.get(f"model {REFERENCE}")
    for name, source in models.items():
        inputs = origin.read_json(Path(source) / MANIFEST).get("inputs")
        base = inputs.get("base") if isinstance(inputs, dict) else None
        # A reference that was trained is another run's policy.
        if name != REFERENCE and base and isinstance(reference, str) and base != reference:
            note(
                f"warning: model '{name}' was trained from another base than lies at {models[REFERENCE]} now; train it "
                "again, or draw that base as the reference"
            )


def _unequal(sides: dict[int, str]) -> str:
    drawn = " and ".join(f"'{name}' {side} pixels" for side, name in sides.items())
    return (
        f"sample: of a side {drawn} are drawn, which cannot be compared; set sample.resolution, or train.resolution as "
        "the policies were trained"
    )


def _why(model: str, pipeline: Any) -> str:
    """What a picture that is not finite says of its model."""
    from dedpo.vision import diffusion

    if broken := diffusion.broken_weights(pipeline):
        remedy = "fetch the base model again" if model == REFERENCE else "train it again"
        return f"; {len(broken)} of its weights are not finite, such as {broken[0]}: {remedy}"
    if model == REFERENCE:
        return "; its weights are finite: set sample.precision=fp32, or another VAE with sample.vae"
    return "; its training must have diverged; train it again with a lower train.learning_rate or train.guard=5"
