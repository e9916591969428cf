from __future__ import annotations

from dedpo import charts


def test_charts_are_deterministic_and_follow_the_pages_colours() -> None:
    rows = [charts.Dot('<b>$x$ & "y"', "#ff0000", 0.1, 0.05, 0.2, emphasis=True)] * 2
    svg = charts.dots(rows, "$metric", 'says "<hi>"', lines={0: charts.WORSE})
    assert svg == charts.dots(rows, "$metric", 'says "<hi>"', lines={0: charts.WORSE})
    assert "&lt;b&gt;$x$ &amp;" in svg
    assert "var(--ink)" in svg
    assert "var(--worse)" in svg
    assert "#0102" not in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert 'aria-label="says &quot;&lt;hi&gt;&quot;"' in svg


def test_a_picture_of_the_bias_escapes_its_texts() -> None:
    side = charts.Side("#ff0000", [-1.0, 1.0], [0.2, 0.8], [0.1, 0.7], [0.3, 0.9])
    svg = charts.shares([side, side], "<b>sharp</b>" * 9, (-2, 2), 'says "<hi>"')
    assert "<b>" not in svg
    assert "&lt;b&gt;" in svg
    assert 'aria-label="says &quot;&lt;hi&gt;&quot;"' in svg


def test_charts_stand_missing_intervals_and_single_points() -> None:
    nan = float("nan")
    assert "<svg" in charts.dots([charts.Dot("a", "#ff0000", 1, nan, nan, hollow=True)], "m", "d")
    assert "<svg" in charts.curves([charts.TrainingCurve("a", "#ff0000", [5.0], [1.0], False)], "d")


def test_dots_that_show_counts_grow_with_them() -> None:
    side = charts.Side(charts.MACHINE, [0.1, 0.9], [0.2, 0.8], [0.1, 0.7], [0.3, 0.9])
    svg = {n: charts.shares([side._replace(counts=[n, 100])], "said", (0, 1), "d") for n in (1, 100)}
    assert svg[1] != svg[100]
    assert "100 %" in svg[1]
    assert "var(--machine)" in svg[1]


def test_bars_lie_or_stand_with_every_name() -> None:
    for lying in (True, False):
        svg = charts.bars({"<b>": 2.0, "long " * 9: 1.0}, "n", "d", lying=lying)
        assert "&lt;b&gt;" in svg
        assert "…" in svg
