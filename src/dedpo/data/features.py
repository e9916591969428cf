"""Features of a pair that change their sign when its images are swapped: image 1 minus image 0, also within words.

A model that is linear in them and has no intercept gives the swapped pair the opposite logit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from dedpo.stats.arrays import Bools, Floats, Singles
from dedpo.stats.lift import words_of

DIRECTIONS: Final = 16
WORDS: Final = 8
_FLAT: Final = 1e-9  # of the largest second moment: less is rounding
_BLOCK: Final = 4096  # rows that are doubles at a time
MADE: Final = (
    "Image 1 minus image 0 of every rated pair: image statistics, of a copy of at most 256 pixels a side; "
    "'similarity', the cosine of prompt and image in CLIP; 'embedding i', CLIP's unit embedding along the i-th "
    "principal direction (uncentred) of these differences; 'x × word', x times (1 if the prompt has the word, else 0, "
    "minus the share of pairs whose prompt has it). Swapping the two images of a pair changes the sign of each."
)


class Features(NamedTuple):
    """The columns of the pairs' features, and what they were made with.

    Attributes:
        names: such as 'sharpness', 'embedding 3' or 'sharpness × painting'; length d.
        values: shape (n, d).
        word_shares: each used word's share of the pairs, in [0.1, 0.9].
        kept: share of the embeddings' second moment that lies in the directions used, in [0, 1]; None without
            embeddings.
    """

    names: list[str]
    values: Floats
    word_shares: dict[str, float]
    kept: float | None


def assemble(prompts: Sequence[str], measured: Mapping[str, Floats], embeddings: Singles | None = None) -> Features:
    """What was measured, the embeddings' leading directions, and what was measured times (has the word − its share).

    Args:
        prompts: of each pair, length n ≥ 1.
        measured: name → difference, image 1 minus image 0, shape (n,).
        embeddings: difference of the images' unit embeddings, shape (n, k).
    """
    columns = dict(measured)
    kept = None
    if embeddings is not None:
        basis, kept = directions(embeddings)
        projected = _projected(embeddings, basis)
        columns |= {f"embedding {i + 1}": projected[:, i] for i in range(basis.shape[1])}
    words = common_words(prompts)
    shares = {word: float(has.mean()) for word, has in words.items()}
    for word, has in words.items():
        centred = has - shares[word]
        columns |= {f"{name} × {word}": difference * centred for name, difference in measured.items()}
    return Features(list(columns), np.stack(list(columns.values()), axis=1), shares, kept)


def directions(differences: Singles, most: int = DIRECTIONS) -> tuple[Floats, float]:
    """Leading principal directions, shape (k, ≤ most), and the share in [0, 1] of the second moment that they keep.

    Nothing is centred: the second moment does not change when pairs are swapped, which a mean would. Of a direction's
    two signs the one is taken that makes its largest coordinate positive.
    """
    width = differences.shape[1]
    moment = np.zeros((width, width))
    for begin in range(0, len(differences), _BLOCK):
        block = differences[begin : begin + _BLOCK].astype(np.float64)
        moment += block.T @ block
    values, vectors = np.linalg.eigh(moment)
    # In ascending order.
    used = np.flatnonzero(values > _FLAT * values[-1])[::-1][:most]
    vectors = vectors[:, used]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(used))]
    return vectors * np.sign(largest), float(values[used].sum() / values.sum()) if len(used) else 0.0


def _projected(differences: Singles, basis: Floats) -> Floats:
    blocks = (differences[i : i + _BLOCK].astype(np.float64) for i in range(0, len(differences), _BLOCK))
    return np.concatenate([block @ basis for block in blocks])


def common_words(prompts: Sequence[str], most: int = WORDS) -> dict[str, Bools]:
    """Up to `most` words that a tenth to nine tenths of the prompts have, and which have each, shape (n,).

    Nearest to half of the prompts first, then in alphabetical order. Of words that occur in the same prompts, or one
    in exactly those that lack the other, only the first is taken: the others say the same.
    """
    n = len(prompts)
    times = Counter(prompts)
    words = {prompt: words_of(prompt) for prompt in times}
    counts: Counter[str] = Counter()
    for prompt, number in times.items():
        counts.update(dict.fromkeys(words[prompt], number))
    common = [word for word, count in counts.items() if n <= 10 * count <= 9 * n]
    found: dict[bytes, tuple[str, Bools]] = {}
    for word in sorted(common, key=lambda word: (abs(2 * counts[word] - n), word)):
        has = np.array([word in words[prompt] for prompt in prompts])
        found.setdefault((has ^ has[0]).tobytes(), (word, has))
        if len(found) == most:
            break
    return dict(found.values())
