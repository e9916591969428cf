from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from dedpo.errors import UserError
from dedpo.label.templates import messages, template
from dedpo.vision.images import data_url


@pytest.mark.parametrize(
    ("kind", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp")]
)
def test_a_data_url_names_the_kind_found_in_the_bytes_and_keeps_them(kind: str, mime: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, format=kind)
    header, payload = data_url(buffer.getvalue()).split(",")
    assert header == f"data:image/{mime};base64"
    assert base64.b64decode(payload) == buffer.getvalue()


@pytest.mark.parametrize("junk", [b"", b"II*\0", b"<svg/>", b"RIFF0000WAVE"])
def test_other_bytes_have_no_data_url(junk: bytes) -> None:
    with pytest.raises(ValueError, match="PNG"):
        data_url(junk)


def test_the_fixed_text_comes_first_and_the_pictures_in_the_order_given() -> None:
    question = template("pairwise-v1")
    one, other = (messages(question, prompt, "data:first", "data:second") for prompt in ("a cat", "a dog"))
    assert one[0] == other[0] == {"role": "system", "content": question.system}
    parts = one[1]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url", "text", "image_url", "text"]
    assert [p["image_url"]["url"] for p in parts if p["type"] == "image_url"] == ["data:first", "data:second"]
    assert "a cat" in parts[0]["text"]
    assert parts[0]["text"].endswith("Image A:")
    assert parts[2]["text"] == "Image B:"
    assert one[1]["content"][1:] == other[1]["content"][1:]


def test_an_unknown_template_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown template 'pairwise-v2'; did you mean 'pairwise-v1'\?"):
        template("pairwise-v2")
