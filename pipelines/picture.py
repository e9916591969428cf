"""The pipeline's picture, from the compiled YAML alone: what follows what, what runs side by side, where GPUs are.

A row is a depth: a task stands below the last one that it waits for. The bytes depend on the YAML only.
"""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from pipelines.graph import Box, depths, longest, read

SVG: Final = Path(__file__).parent.parent / "docs" / "img" / "pipeline.svg"
HEIGHT: Final = 32
GAP: Final = 26
BETWEEN: Final = 28
MARGIN: Final = 14
TITLE: Final = 18
LETTER: Final = 7.3  # width of a letter at 13 px, a little too much
STYLE: Final = """
:root { color-scheme: light dark }
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1f2933; text-anchor: middle }
.small { font-size: 11px; fill: #52606d } .left { text-anchor: start }
.page { fill: #ffffff } .task { fill: #eef2f6; stroke: #7b8794 } .gpu { fill: #ffe3b8; stroke: #b7791f }
.group { fill: none; stroke: #9aa5b1 }
.edge { fill: none; stroke: #7b8794; stroke-width: 1.2 } .long { fill: none; stroke: #c0392b; stroke-width: 2.6 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e7eb } .small { fill: #9aa5b1 } .page { fill: #161b22 }
.task { fill: #263238; stroke: #7b8794 } .gpu { fill: #5c3d0c; stroke: #e0a030 } .long { stroke: #ff7b6b }
}"""


class Place(NamedTuple):
    """A box's corner and size in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def render(path: Path) -> str:
    """The compiled pipeline as SVG."""
    boxes, last = read(path)
    width, height = _size_of(boxes)
    total = (width + 4 * MARGIN, height + TITLE + 4 * MARGIN + BETWEEN + HEIGHT + 2 * TITLE)
    below = MARGIN + height + TITLE + 2 * MARGIN
    loop = Place(MARGIN, MARGIN, width + 2 * MARGIN, below - MARGIN)
    (end,) = last
    foot = Place(loop.middle - _width(end) / 2, below + BETWEEN, _width(end), HEIGHT)
    parts = [
        f'<rect class="page" width="{total[0]:.0f}" height="{total[1]:.0f}" rx="8"/>',
        f'<rect class="group" x="{loop.x}" y="{loop.y}" width="{loop.width:.1f}" height="{loop.height:.1f}" rx="6"/>',
        f'<text class="small left" x="{loop.x + 8}" y="{loop.y + 15}">every task, in a pod of its own</text>',
        *_draw(boxes, Place(loop.x + MARGIN, loop.y + TITLE + MARGIN, width, height)),
        *_edge(loop, foot, "edge"),
        *_task(end, foot),
        f'<text class="small left" x="{foot.x + foot.width + 8:.1f}" y="{foot.y + 20:.1f}">whatever happens</text>',
        *_legend(total[1] - TITLE),
    ]
    size = f'width="{total[0]:.0f}" height="{total[1]:.0f}" viewBox="0 0 {total[0]:.0f} {total[1]:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="The pipeline\'s graph">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _legend(y: float) -> Iterator[str]:
    yield f'<rect class="gpu" x="{MARGIN}" y="{y - 11:.1f}" width="22" height="12" rx="3"/>'
    yield f'<text class="small left" x="{MARGIN + 28}" y="{y:.1f}">takes a GPU if the run has any</text>'
    yield f'<path class="long" d="M{MARGIN + 215} {y - 4:.1f}h22"/>'
    yield f'<text class="small left" x="{MARGIN + 243}" y="{y:.1f}">the longest way</text>'


def _rows(boxes: list[Box]) -> list[list[Box]]:
    depth = depths(boxes)
    return [[b for b in boxes if depth[b.name] == row] for row in range(max(depth.values()) + 1)]


def _width(box: Box) -> float:
    return max(96.0, len(box.title) * LETTER + 20)


def _size_of(boxes: list[Box]) -> tuple[float, float]:
    rows = _rows(boxes)
    widths = [sum(_width(box) for box in row) + GAP * (len(row) - 1) for row in rows]
    return max(widths), HEIGHT * len(rows) + BETWEEN * (len(rows) - 1)


def _places(boxes: list[Box], area: Place) -> dict[str, Place]:
    found, y = {}, area.y
    for row in _rows(boxes):
        x = area.middle - (sum(_width(box) for box in row) + GAP * (len(row) - 1)) / 2
        for box in row:
            found[box.name] = Place(x, y, _width(box), HEIGHT)
            x += _width(box) + GAP
        y += HEIGHT + BETWEEN
    return found


def _draw(boxes: list[Box], area: Place) -> Iterator[str]:
    """The boxes and their edges."""
    places = _places(boxes, area)
    steps = {(a.name, b.name) for a, b in pairwise(longest(boxes))}
    for box in boxes:
        for other in sorted(box.after):
            kind = "long" if (other, box.name) in steps else "edge"
            yield from _edge(places[other], places[box.name], kind)
    for box in boxes:
        yield from _task(box, places[box.name])


def _edge(begin: Place, end: Place, kind: str) -> Iterator[str]:
    x0, y0, x1, y1 = begin.middle, begin.y + begin.height, end.middle, end.y
    middle = (y0 + y1) / 2
    yield f'<path class="{kind}" d="M{x0:.1f} {y0:.1f}C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"/>'


def _task(box: Box, place: Place) -> Iterator[str]:
    kind = "gpu" if box.gpu else "task"
    size = f'width="{place.width:.1f}" height="{place.height:.1f}"'
    # A loop's tasks lie behind each other.
    for shift in (6, 3, 0) if box.is_loop else (0,):
        yield f'<rect class="{kind}" x="{place.x + shift:.1f}" y="{place.y - shift:.1f}" {size} rx="6"/>'
    yield f'<text x="{place.middle:.1f}" y="{place.y + 21:.1f}">{escape(box.title)}</text>'


def write(path: Path) -> None:
    """Draw the compiled pipeline `path` into docs/img/pipeline.svg."""
    SVG.write_text(render(path), encoding="utf-8")
