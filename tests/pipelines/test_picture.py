"""The picture shows the graph that is compiled."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from pipelines import dedpo, graph, picture
from pipelines.graph import Box
from pipelines.resources import NEEDS

BOXES, LAST = graph.read(dedpo.YAML)


def test_every_task_is_there_and_those_with_gpus_are_marked() -> None:
    gpus = {box.title.split(" ")[0]: box.gpu for box in BOXES + LAST}
    assert gpus == {name: bool(need.gpu) for name, need in NEEDS.items()}
    assert {box.title for box in BOXES if box.is_loop} == {"label × shards", "train × arms"}
    assert [box.title for box in LAST] == ["notify"]


def test_what_follows_what_without_what_is_said_already() -> None:
    after = {box.title: {other.split("-")[0] for other in box.after} for box in BOXES}
    assert after["doctor"] == set()
    assert after["import-pairs"] == {"fetch"}
    assert after["gate"] == {"bias"}, "not doctor, whose settings come by way of bias"
    assert after["targets"] == {"gate"}
    assert after["promote"] == {"report"}
    depth = graph.depths(BOXES)
    assert depth["doctor"] == 0
    assert depth["prepare"] == depth["import-pairs"] + 1
    assert max(depth, key=lambda name: depth[name]) == "finish"


def test_the_longest_way_leads_over_the_heaviest() -> None:
    a, b, c, d = (Box(name, name) for name in "abcd")
    b.after, c.after, d.after = {"a"}, {"a"}, {"b", "c"}
    weights = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}
    assert [box.name for box in graph.longest([a, b, c, d], lambda box: weights[box.name])] == ["a", "c", "d"]
    assert [box.title for box in graph.longest(BOXES) if box.gpu] == [
        "label × shards",
        "train × arms",
        "sample",
        "score",
    ]


def test_it_is_one_well_formed_file_that_says_every_name() -> None:
    text = picture.render(dedpo.YAML)
    root = ElementTree.fromstring(text)
    words = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert {box.title for box in BOXES + LAST} <= words
    assert "whatever happens" in words
    assert "prefers-color-scheme: dark" in text
    assert text == picture.render(dedpo.YAML)


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile = dedpo.YAML.read_text(encoding="utf-8").replace("name: arms\n", "name: <script>x</script>\n")
    (tmp_path / "dedpo.yaml").write_text(hostile, encoding="utf-8")
    assert "<script" not in picture.render(tmp_path / "dedpo.yaml")
