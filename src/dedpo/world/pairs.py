"""The world as an ordinary folder of pairs, such as a user brings: images, pairs.csv and prompt lists."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from dedpo.contract.sections import WorldConfig
from dedpo.outputs.manifest import output_folder
from dedpo.terminal import progress
from dedpo.vision.images import encode_png
from dedpo.world.oracle import human_preferences
from dedpo.world.prompts import prompts_of
from dedpo.world.render import Images, render

SPLITS: Final = ("train", "validation", "test")
# Renders are drawn in blocks, so that memory does not grow with the number of pairs.
BLOCK: Final = 1000


def write_pairs(config: WorldConfig, *, out: Path) -> dict[str, int]:
    """Render pairs of training prompts, let one human choose, and write images/, pairs.csv and prompts-*.txt.

    The bytes depend on the settings alone.

    Returns:
        counts: pairs, prompts among them, ties, and the prompts of each list.

    Raises:
        UserError: `out` cannot be written.
    """
    with output_folder(out, stage="world", config=config.model_dump(), inputs={}) as partial:
        lists = {split: [p.text for p in prompts_of(split)] for split in SPLITS}
        for split, texts in lists.items():
            (partial / f"prompts-{split}.txt").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
        rows = _render_all(config, partial)
        with (partial / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["prompt", "image_0", "image_1", "preference", "rater"])
            writer.writerows(rows)
    return {
        "pairs": len(rows),
        "prompts": len({row[0] for row in rows}),
        "ties": sum(row[3] == "0.5" for row in rows),
        **{f"prompts_{split}": len(texts) for split, texts in lists.items()},
    }


def _render_all(config: WorldConfig, folder: Path) -> list[tuple[str, str, str, str, str]]:
    """Write every image; return the rows of pairs.csv."""
    rng = np.random.default_rng(config.seed)
    known = prompts_of("train")
    rows = []
    (folder / "images").mkdir()
    with progress("rendering pairs", config.pairs) as advance:
        for begin in range(0, config.pairs, BLOCK):
            n = min(BLOCK, config.pairs - begin)
            prompts = [known[i] for i in rng.integers(0, len(known), n)]
            images_0, images_1 = render(prompts, rng), render(prompts, rng)
            choices = human_preferences(prompts, images_0, images_1, rng)
            for i, (prompt, choice) in enumerate(zip(prompts, choices, strict=True)):
                names = [f"images/{begin + i:06d}_{side}.png" for side in (0, 1)]
                _save(folder / names[0], images_0[i])
                _save(folder / names[1], images_1[i])
                rows.append((prompt.text, names[0], names[1], f"{choice:g}", "human"))
                advance("")
    return rows


def _save(path: Path, pixels: Images) -> None:
    path.write_bytes(encode_png(Image.fromarray(pixels)))
