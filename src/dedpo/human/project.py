"""A round as a Label Studio project: the labelling configuration, a task a pair, and how to go on."""

from __future__ import annotations

from typing import Any, Final

from dedpo.contract.answered_pairs import is_round
from dedpo.contract.records.human import Selection
from dedpo.errors import UserError, excerpt

LEFT, RIGHT, TIE = "left", "right", "tie"
CONTROL: Final = "preference"
EMBED: Final = "embed"
# Prompts reach the page by $prompt alone, as text and never as an address or as markup. One control with three answers,
# so that 'left' and 'a tie' cannot both be given.
CONFIG: Final = f"""\
<View>
  <Header value="Which picture would you choose for this text: what it shows, and how good it looks?"/>
  <Text name="prompt" value="$prompt" valueType="text"/>
  <View style="display: grid; grid-template: auto / 1fr 1fr; column-gap: 16px">
    <Image name="{LEFT}" value="${LEFT}"/>
    <Image name="{RIGHT}" value="${RIGHT}"/>
  </View>
  <Choices name="{CONTROL}" toName="{LEFT}" choice="single-radio" required="true" showInline="true">
    <Choice value="{LEFT}" hotkey="1"/>
    <Choice value="{TIE}" hotkey="2"/>
    <Choice value="{RIGHT}" hotkey="3"/>
  </Choices>
</View>
"""


def check_round(name: str) -> str:
    """The name of a round, which is that of a folder.

    Raises:
        UserError: it is none.
    """
    if not is_round(name):
        raise UserError(f"--round '{excerpt(name, 40)}': use up to 64 letters, digits, '-' and '_', such as 2026-11-a")
    return name


def task(round_: str, pair_id: str, order_shown: str, prompt: str, images: tuple[str, str]) -> dict[str, Any]:
    """One task: what people see, and what leads the answer back to its pair.

    Args:
        order_shown: '01' puts image 0 on the left, '10' image 1.
        images: addresses of image 0 and image 1.
    """
    left, right = images if order_shown == "01" else images[::-1]
    return {
        "data": {
            "pair_id": pair_id,
            "round": round_,
            "order_shown": order_shown,
            "prompt": prompt,
            LEFT: left,
            RIGHT: right,
        }
    }


def preference(choice: str, order_shown: str) -> float:
    """P(image 1 preferred over image 0), 0, ½ or 1, of a choice among what stood left and right.

    Args:
        choice: 'left', 'tie' or 'right'.
    """
    if choice == TIE:
        return 0.5
    return float((choice == RIGHT) == (order_shown == "01"))


def readme(name: str, facts: Selection, image_prefix: str) -> str:
    """The round's README: what was drawn, and how it gets into Label Studio and back."""
    is_local = image_prefix.startswith("/data/local-files/")
    images = _EMBEDDED if image_prefix == EMBED else _LOCAL if is_local else _HOSTED
    return _README.format(
        name=name,
        drawn=_DRAWN[facts["design"]].format(**facts),
        images=images.format(name=name, prefix=image_prefix),
    )


_DRAWN: Final = {
    "rectifier": (
        "{selected} of {candidates} training pairs, by the expected size of the annotator's error "
        "({uniform_share:.0%} of the draw is uniform). `selection.parquet` holds the chance of every pair: with it the "
        "correction stays unbiased, so keep it in version control."
    ),
    "uniform": (
        "{selected} of {candidates} training pairs, all with the same chance. `selection.parquet` holds it: keep it in "
        "version control."
    ),
    "again": (
        "{selected} of {candidates} pairs that a run already sees, for a second opinion: how far people agree. No "
        "estimate rests on who was drawn."
    ),
}
_LOCAL: Final = """\
1. Start Label Studio in this folder, so that it may show the images in it:

       LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true \\
       LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="$(pwd)/label-studio" label-studio start

   In the project that step 2 makes: Settings, Cloud Storage, Add Source Storage, Local Files, with the absolute path of
   `label-studio/images`. Save it and do not sync: the tasks come from tasks.json.
"""
_HOSTED: Final = """\
1. The tasks name their images `{prefix}<file name>`: put the files of `label-studio/images` there.
"""
_EMBEDDED: Final = """\
1. The images lie in the tasks themselves: nothing has to be done to show them.
"""
_README: Final = """\
# Round {name}

{drawn}

{images}2. Make a project. Settings, Labeling Interface, Code: the content of `label-studio/config.xml`. The header may
   be changed; the names left, right, preference and the values left, tie, right may not.
3. Import `label-studio/tasks.json`. Which image is on the left was drawn for each task and is undone on the way back.
4. When people are done: Export, JSON. Then, where the `human` folder lies:

       dedpo data merge EXPORT.json
       dedpo data ratings

`label-studio/` is not kept in version control: `dedpo data select --round {name}` writes it again where it is missing.
"""
