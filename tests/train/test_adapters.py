"""LoRA: off it is the base, saved it is what diffusers loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from dedpo.contract.sections import LoraConfig, TrainConfig
from dedpo.errors import UserError
from dedpo.train import adapters, policy
from dedpo.vision import adapter_files, diffusion
from tests.train.tiny import SIDE, tiny_sd

CONFIG = LoraConfig(rank=3, alpha=6)


def _unet(base: Path, moved: bool = True, config: LoraConfig = CONFIG) -> Any:
    """A pipeline whose UNet has adapters, which `moved` makes matter."""
    pipeline = diffusion.load(str(base), "base")
    adapters.add(pipeline.unet, config, seed=0)
    if moved:
        generator = torch.Generator().manual_seed(1)
        for parameter in pipeline.unet.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return pipeline


def _output(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    width = unet.config.cross_attention_dim
    x, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, width, generator=generator)
    added = None
    if unet.config.addition_embed_type == "text_time":
        added = {"text_embeds": torch.ones(2, 12), "time_ids": torch.ones(2, 6)}
    with torch.no_grad():
        return unet(x, torch.tensor([3, 700]), text, added_cond_kwargs=added, return_dict=False)[0]


def test_new_adapters_change_nothing_and_are_all_that_trains(sd: Path) -> None:
    base, unet = diffusion.load(str(sd), "base").unet, _unet(sd, moved=False).unet
    assert torch.equal(_output(unet), _output(base))
    trained = {name for name, p in unet.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    ends = {name.split(".lora_")[0].split("attn")[-1].split(".", 1)[1] for name in trained}
    assert ends == {"to_q", "to_k", "to_v", "to_out.0"}


def test_off_it_is_the_base_to_the_last_bit(sd: Path) -> None:
    base, unet = diffusion.load(str(sd), "base").unet, _unet(sd).unet
    on = _output(unet)
    with adapters.switched_off(unet) as off:
        assert torch.equal(_output(off), _output(base))
    assert torch.equal(_output(unet), on)
    assert not torch.equal(on, _output(base))


def test_the_seed_decides_the_first_factors(sd: Path) -> None:
    state = torch.get_rng_state()
    first, again = (_unet(sd, moved=False).unet.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state), "the trainer's chance must not depend on it"


def test_the_change_is_measured_without_being_formed(sd: Path) -> None:
    unet = _unet(sd).unet
    with torch.no_grad():
        changes = [layer.get_delta_weight("default").double() for layer in adapters.layers(unet)]
    expected = sum(float(change.square().sum()) for change in changes)
    assert adapters.squared_change(unet) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_saved_adapters_load_into_the_base(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Alpha is twice the rank: a file that lost it would load at half the strength."""
    base = request.getfixturevalue(kind)
    expected = _output(_saved(base, tmp_path).unet)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base.json", "pytorch_lora_weights.safetensors"]
    plain = DiffusionPipeline.from_pretrained(base)
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(_output(plain.unet), expected)
    ours = diffusion.load(str(tmp_path), "model 'policy'").unet
    torch.testing.assert_close(_output(ours), expected, rtol=1e-4, atol=1e-5)
    adapters.add(ours, CONFIG, seed=0)


def _saved(base: Path, folder: Path, name: str | None = None) -> Any:
    """Save moved adapters of `base` to `folder`; return the pipeline that has them."""
    identity = diffusion.identity(str(base), diffusion.load(str(base), "base"))
    pipeline = _unet(base)
    weights = {name: p.detach() for name, p in pipeline.unet.named_parameters() if p.requires_grad}
    folder.mkdir(exist_ok=True)
    config = TrainConfig(base=name or str(base), lora=CONFIG)
    policy.save(pipeline, weights, config, folder, resolution=SIDE, identity=identity)
    return pipeline


def test_the_same_adapters_are_the_same_file(sd: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        _saved(sd, tmp_path / name)
    assert len({(folder / adapter_files.WEIGHTS).read_bytes() for folder in tmp_path.iterdir()}) == 1


def test_a_program_that_reads_the_tensors_alone_gives_them_their_whole_strength(sd: Path, tmp_path: Path) -> None:
    """As ComfyUI does, and diffusers did: no metadata, no .alpha tensors, so a scale of 1."""
    expected = _output(_saved(sd, tmp_path).unet)
    tensors = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    plain = DiffusionPipeline.from_pretrained(sd)
    plain.load_lora_weights(tmp_path, weight_name="bare.safetensors")
    torch.testing.assert_close(_output(plain.unet), expected)
    by_hand = DiffusionPipeline.from_pretrained(sd).unet
    with torch.no_grad():
        for name in {key.rsplit(".lora", 1)[0] for key in tensors}:
            up, down = tensors[f"{name}.lora.up.weight"], tensors[f"{name}.lora.down.weight"]
            by_hand.get_submodule(name.removeprefix("unet.")).weight += up @ down
    torch.testing.assert_close(_output(by_hand), expected, rtol=1e-4, atol=1e-5)


def test_adapters_find_their_base_where_both_were_moved_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    base = tiny_sd(Path("models/base"))
    (tmp_path / "here" / "policies").mkdir()
    expected = _output(_saved(base, Path("policies/one")).unet)
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    tiny_sd(Path("models/base"), seed=1)
    found = diffusion.load("there/policies/one", "model 'policy'").unet
    torch.testing.assert_close(_output(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_adapters_are_not_merged_into_another_model_at_the_bases_place(part: str, tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base")
    _saved(base, tmp_path / "policy")
    tiny_sd(tmp_path / "other", seed=1)
    shutil.rmtree(base / part)
    shutil.copytree(tmp_path / "other" / part, base / part)
    with pytest.raises(UserError, match=f"at {base} lies another model than .* trained on \\({part} differ\\)"):
        diffusion.load(str(tmp_path / "policy"), "model 'policy'")


def test_a_copy_of_the_base_in_other_files_is_the_same_base(tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base")
    expected = _output(_saved(base, tmp_path / "policy").unet)
    diffusion.load(str(base), "base").save_pretrained(tmp_path / "copy")
    shutil.rmtree(base)
    (tmp_path / "copy").rename(base)
    found = diffusion.load(str(tmp_path / "policy"), "model 'policy'").unet
    torch.testing.assert_close(_output(found), expected, rtol=1e-4, atol=1e-5)


def test_adapters_on_adapters_need_both_below_them(tmp_path: Path) -> None:
    base, first, second = tiny_sd(tmp_path / "base"), tmp_path / "first", tmp_path / "second"
    _saved(base, first)
    expected = _output(_saved(first, second).unet)
    found = diffusion.load(str(second), "model 'policy'").unet
    torch.testing.assert_close(_output(found), expected, rtol=1e-4, atol=1e-5)
    assert adapter_files.bases(str(second)) == [str(second), str(first), str(base)]
    plain = DiffusionPipeline.from_pretrained(base)
    for adapter in (first, second):  # as the model card says
        plain.load_lora_weights(adapter)
        plain.fuse_lora()
        plain.unload_lora_weights()
    torch.testing.assert_close(_output(plain.unet), expected, rtol=1e-4, atol=1e-5)
    weights = load_file(first / adapter_files.WEIGHTS)
    save_file({name: 2 * tensor for name, tensor in weights.items()}, first / adapter_files.WEIGHTS)
    with pytest.raises(UserError, match=r"lies another model .* \(adapters differ\)"):
        diffusion.load(str(second), "model 'policy'")


def test_adapters_of_a_hub_model_ask_for_the_commit_that_they_were_trained_on(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the hub's cache as its client leaves it: 'main' has moved on since."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--team--model"
    commits = ["1" * 40, "2" * 40]
    for seed, commit in enumerate(commits):
        tiny_sd(model / "snapshots" / commit, seed=seed)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commits[0])
    expected = _output(_saved(model / "snapshots" / commits[0], tmp_path / "policy", "team/model").unet)
    assert adapter_files.read(tmp_path / "policy", "model")["commit"] == commits[0]
    (model / "refs" / "main").write_text(commits[1])
    found = diffusion.load(str(tmp_path / "policy"), "model 'policy'").unet
    torch.testing.assert_close(_output(found), expected, rtol=1e-4, atol=1e-5)


def test_a_lora_policy_without_its_base_names_both(sd: Path, tmp_path: Path) -> None:
    _saved(sd, tmp_path, "./gone")
    with pytest.raises(UserError, match=f"model 'p': {tmp_path}: its base: ./gone: no such folder"):
        diffusion.load(str(tmp_path), "model 'p'")


def test_modules_that_are_not_there_are_named(sd: Path) -> None:
    with pytest.raises(UserError, match=r"train.lora.modules \['to_z'\]: .* to_q"):
        _unet(sd, config=LoraConfig(modules=["to_z"]))
