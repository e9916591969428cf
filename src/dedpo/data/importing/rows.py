"""What a row of any layout comes to, before an image is looked at: typed values, or why the row is set aside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dedpo.tabular.rejected import RefusedError, SetAside

DEFAULT_RATER: Final = "human"

# Where a picture is: a path as written, relative to the source's folder, or its bytes.
Picture = str | bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One opinion of one pair, or one mention of an unrated pair.

    Attributes:
        number: its place in the source: a CSV's as a spreadsheet counts (the header is row 1), otherwise from 0.
        image_0, image_1: paths as written, or the files' bytes.
        preference: P(image_1 preferred over image_0) in [0, 1]; None: unrated.
        order_shown: '01' or '10', the order in which the rater saw the images; None: unknown.
        time: when, in UTC; None: unknown.
        part: the split in which the source was published; '' if it names none.
    """

    number: int
    prompt: str
    image_0: Picture
    image_1: Picture
    preference: float | None
    rater: str
    group: str
    order_shown: str | None
    time: datetime | None
    part: str = ""


def typed(
    number: int,
    *,
    prompt: object,
    image_0: object,
    image_1: object,
    preference: float | None = None,
    rater: object = None,
    group: object = None,
    order_shown: object = None,
    time: object = None,
    part: str = "",
) -> Row | SetAside:
    """A row from values as text or as numbers, None or '' where there is none; a bad value sets it aside.

    Args:
        preference: as `codings.Coding.read` or a layout's own rule understands it, in [0, 1].
    """
    words = ""
    try:
        words = _text(prompt)
        if not words:
            raise RefusedError("empty prompt")
        return Row(
            number=number,
            prompt=words,
            image_0=_picture(image_0),
            image_1=_picture(image_1),
            preference=preference,
            rater=_text(rater) or DEFAULT_RATER,
            group=_text(group) or words,
            order_shown=None if _is_empty(order_shown) else _order(_text(order_shown)),
            time=None if _is_empty(time) else _time(time),
            part=part,
        )
    except RefusedError as refused:
        return SetAside(number, refused.reason, refused.detail, words)


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON can say half of a surrogate pair
            raise RefusedError("text is not Unicode", text.encode(errors="replace").decode()) from None
    return text


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _picture(value: object) -> Picture:
    """A path, bytes, or the `datasets` library's Image convention with bytes in it."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        if value:
            return value
    elif isinstance(value, str):
        return value.strip()
    elif value is not None:
        raise RefusedError("image is neither a path nor bytes", type(value).__name__)
    raise RefusedError("no image")


def _order(text: str) -> str:
    # Spreadsheets turn 01 into 1.
    order = {"1": "01"}.get(text, text)
    if order not in ("01", "10"):
        raise RefusedError("order_shown is neither 01 nor 10", text)
    return order


def _time(given: object) -> datetime:
    """The instant in UTC; a time without a zone is taken as UTC."""
    try:
        time = given if isinstance(given, datetime) else datetime.fromisoformat(_text(given))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise RefusedError("time is not ISO 8601", _text(given)) from None
