"""A trace as people read it: a tree, each finished output once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rich.text import Text
from rich.tree import Tree

from dedpo.errors import excerpt
from dedpo.lineage.trace import Link, Made
from dedpo.terminal import console

COLOURS: Final = {"matches": "green", "changed": "red", "gone": "red", "not here": "yellow", "replaced": "yellow"}
SHORT: Final = 8


def show(link: Link) -> None:
    """Print the tree."""
    console().print(tree(link))


def tree(link: Link) -> Tree:
    """The chain below `link`."""
    node = Tree(Text("\n").join([_title(link), *(Text(line, "dim") for line in _details(link))]), guide_style="dim")
    children = link.made.inputs if link.made else []
    for child in children:
        if not _is_told(child):
            node.children.append(tree(child))
    if told := [child for child in children if _is_told(child)]:
        names = ", ".join(excerpt(f"{child.name} ({child.path})", 200) for child in told)
        node.add(Text.assemble((names, "dim"), "  ", ("match, shown above", "dim green")))
    return node


def _is_told(link: Link) -> bool:
    """Whether nothing about it is new: it matches, and its output stands further up."""
    return link.state == "matches" and not link.facts and not link.note and link.made is not None and link.made.is_above


def _title(link: Link) -> Text:
    name, path = excerpt(link.name, 80), excerpt(link.path, 200)
    return Text.assemble(
        (f"{name}  " if name != path else "", "bold"),
        path,
        "  ",
        (link.sha256[:SHORT], "cyan"),
        "  ",
        (link.state, COLOURS[link.state]),
        (f": {excerpt(link.note, 400)}" if link.note else "", COLOURS[link.state]),
    )


def _details(link: Link) -> Iterator[str]:
    if link.facts:
        yield _joined(link.facts)
    if link.made is None:
        return
    if link.made.is_above:
        yield "shown above" if link.path == link.made.path else f"part of {link.made.path}, shown above"
        return
    yield " · ".join(_work(link.made))
    if link.made.facts:
        yield _joined(link.made.facts)
    if link.made.revision:
        yield f"data {excerpt(link.made.revision, 200)}"


def _work(made: Made) -> Iterable[str]:
    """Which stage made it, with which code, in how many seconds."""
    yield f"stage {excerpt(made.stage, 40)}"
    if made.commit:
        head, plus, _ = made.commit.partition("+")
        yield f"dedpo {made.dedpo}, commit {head[:SHORT]}{' with changes' if plus else ''}"
    else:
        code = f", code {made.code[:SHORT]}" if made.code else ""
        # Without its seconds the run is not recorded here, as in a clone.
        yield f"dedpo {made.dedpo}{code}{'' if made.seconds is None else ', outside git'}"
    if made.seconds is not None:
        yield f"{made.seconds:,.1f} s"


def _joined(facts: dict[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in facts.items())
