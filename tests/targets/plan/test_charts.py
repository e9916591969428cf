"""The planner's picture: no text on another, nothing beyond the edge, the same bytes each time."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from dedpo.targets.plan import charts
from tests.targets.plans import CASES, PILOT, plan


@pytest.mark.parametrize("name", CASES)
def test_no_two_texts_overlap_and_none_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = charts.compose(CASES[name]())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout is settled now
    drawn: dict[int, Text] = {}
    draw = Text.draw

    def noted(text: Text, *arguments: Any, **options: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn[id(text)] = text
        draw(text, *arguments, **options)

    monkeypatch.setattr(Text, "draw", noted)
    canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn.values()]
    assert len(boxes) > 20
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), (one, two)
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text


def test_the_picture_is_the_same_each_time() -> None:
    facts = plan(PILOT)
    assert charts.draw(facts)["svg"] == charts.draw(facts)["svg"]
