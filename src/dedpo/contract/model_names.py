"""Models by name: a folder or file here, or an id on the hub, at a revision if one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from dedpo.errors import UserError

# Who answers where nobody else is named.
ANNOTATOR: Final = "Qwen/Qwen2.5-VL-7B-Instruct"
JUDGE: Final = "gemini-2.5-flash"
CLIP: Final = "openai/clip-vit-large-patch14"
PICKSCORE: Final = "yuvalkirstain/PickScore_v1"
PICKSCORE_PROCESSOR: Final = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
REACH: Final = "name what is on this disk, or fetch it once where the hub can be reached"


class Model(NamedTuple):
    """A model's name without its revision, a branch, tag or commit of the hub; None: what 'main' is there."""

    name: str
    revision: str | None

    @property
    def options(self) -> dict[str, Any]:
        """For `from_pretrained` and its like."""
        return {} if self.revision is None else {"revision": self.revision}

    @property
    def download(self) -> str:
        """The command that fetches it."""
        return f"hf download {self.name}" + (f" --revision {self.revision}" if self.revision else "")


def model(name: str) -> Model:
    """Take owner/name@revision apart; what is on this disk has no revision, whatever it is called."""
    if Path(name).exists():
        return Model(name, None)
    plain, at, revision = name.partition("@")
    return Model(plain, revision if at else None)


def check_name(name: str, place: str) -> None:
    """Refuse a name that is neither here nor shaped like owner/name or owner/name/file on the hub (@revision or not).

    Raises:
        UserError: it names `place`.
    """
    plain, revision = model(name)
    is_here = bool(name) and Path(name).exists()
    if not is_here and (plain.startswith((".", "/", "~")) or not 1 <= plain.count("/") <= 2 or revision == ""):
        raise UserError(
            f"{place}: {name}: nothing is there; name a folder or file, or a hub id such as 'owner/name' or "
            "'owner/name@revision'"
        )
