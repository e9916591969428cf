"""Pictures on the way: fixed prompts from fixed noise, so that two strips differ by training alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dedpo import disk
from dedpo.rng import generator
from dedpo.vision import drawing

# The paper's sampling: DPM-Solver++, 20 steps, guidance 7.5.
STEPS: Final = 20
GUIDANCE: Final = 7.5
# A strip of 1024-pixel pictures would be tens of megabytes.
LARGEST_TILE: Final = 512
REFERENCE: Final = "reference.png"


class Validation:
    """Draws `folder`/step-000080.png: a column a prompt, the reference's pictures above the policy's.

    It encodes the prompts once: the pipeline's encoders may then leave the device, and the VAE comes back for a strip.
    """

    def __init__(self, pipeline: Any, prompts: Sequence[str], side: int, folder: Path) -> None:
        """
        Args:
            pipeline: of SD1.5 or SDXL class, on the device; its UNet and scheduler are not used.
            prompts: at least one.
            side: of the pictures in pixels.
        """
        self._pipeline, self._side, self._folder, self._device = pipeline, side, folder, pipeline.vae.device
        self._scheduler = drawing.scheduler(pipeline)
        self._inputs = [
            (drawing.encode(pipeline, prompt, self._device, guided=True), self._noise(prompt)) for prompt in prompts
        ]

    def _noise(self, prompt: str) -> Tensor:
        vae = self._pipeline.vae
        side = self._side // self._pipeline.vae_scale_factor
        shape = (1, vae.config.latent_channels, side, side)
        noise = generator("validation", prompt).standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(noise).to(self._device)

    def draw_reference(self, unet: Any, autocast: AbstractContextManager[Any], *, is_main: bool) -> None:
        """Draw the upper row, from the policy before its first step, unless an interrupted run has done so."""
        if not (self._folder / REFERENCE).is_file():
            row = self._row(unet, autocast)
            if is_main:
                self._folder.mkdir(exist_ok=True)
                _save(row, self._folder / REFERENCE)

    def draw(self, unet: Any, steps_done: int, autocast: AbstractContextManager[Any], *, is_main: bool) -> None:
        """Draw the strip of the policy after so many steps.

        Args:
            unet: if its weights are in shards, every rank must call this at the same time.
            autocast: the run's precision for the UNet; the VAE stays in fp32.
            is_main: whether this process writes the file.
        """
        row = self._row(unet, autocast)
        if is_main:
            with Image.open(self._folder / REFERENCE) as reference:
                strip = np.concatenate([np.asarray(reference.convert("RGB")), row])
            _save(strip, self._strip(steps_done))

    def forget(self, steps_done: int) -> None:
        """Remove the strip of the policy after so many steps."""
        self._strip(steps_done).unlink(missing_ok=True)

    def _strip(self, steps_done: int) -> Path:
        return self._folder / f"step-{steps_done:06d}.png"

    @torch.no_grad()
    def _row(self, unet: Any, autocast: AbstractContextManager[Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The policy's pictures side by side, uint8 (tile, prompts × tile, 3); black where not finite."""
        with self._parts(unet):
            with autocast:
                # One prompt at a time: memory does not grow with their number.
                latents = [
                    drawing.latents(self._pipeline, encoded, noise, self._side, STEPS, GUIDANCE)[0]
                    for encoded, noise in self._inputs
                ]
            return np.concatenate([self._tile(x) for x in latents], axis=1)

    @contextmanager
    def _parts(self, unet: Any) -> Iterator[None]:
        """Within: the pipeline has what drawing takes and nothing that is on another device."""
        pipeline, names = self._pipeline, ("unet", "scheduler", "text_encoder", "text_encoder_2", "safety_checker")
        kept = {name: getattr(pipeline, name) for name in names if hasattr(pipeline, name)}
        place = pipeline.vae.device
        pipeline.unet, pipeline.scheduler = unet, self._scheduler
        for name in [name for name in names[2:] if name in kept]:
            setattr(pipeline, name, None)
        pipeline.vae.to(self._device)
        try:
            yield
        finally:
            pipeline.vae.to(place)
            for name, part in kept.items():
                setattr(pipeline, name, part)

    def _tile(self, latents: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
        pixels = torch.nan_to_num(drawing.decode(self._pipeline.vae, latents)).clamp(0, 1).numpy()
        picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
        side = min(self._side, LARGEST_TILE)
        return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def _save(array: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    Image.fromarray(array).save(temporary, format="PNG")
    disk.replace(temporary, path)
