"""Gemini's generateContent protocol, as far as a comparison of two pictures needs it."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any, Final

from dedpo.world.chat import Refusal

CHOICES: Final = ("first", "second", "tie")
# Google's names of HTTP statuses (google.rpc.Code).
_STATUS: Final = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
API_KEY_INVALID: Final = "API_KEY_INVALID"
# What Google counts for a picture of at most 384 × 384 pixels.
IMAGE_TOKENS: Final = 258


@dataclass(frozen=True)
class GeminiRequest:
    """A checked request.

    `text` is that of the contents, `instructions` that of the system; `image_urls` are data URLs in order; `fields` are
    the answer's, in order: name → whether it is one of `CHOICES` (else a free text).
    """

    text: str
    instructions: str
    image_urls: list[str]
    fields: dict[str, bool]


def parse_request(body: dict[str, Any]) -> GeminiRequest:
    """Read and check a request's body; fields that are not known are ignored.

    Raises:
        Refusal: a field is missing, has a wrong value or asks for something that is not offered.
    """
    texts, urls = _read_parts(body.get("contents"))
    system = _field(body, "systemInstruction")
    instructions, _ = _read_parts([system]) if system is not None else ([], [])
    return GeminiRequest("\n".join(texts), "\n".join(instructions), urls, _fields(_field(body, "generationConfig")))


def _field(tree: object, name: str) -> Any:
    """A field by its name or by that in snake case (protobuf's JSON has both, Google's clients mix them), or None."""
    if not isinstance(tree, dict):
        return None
    return tree.get(name, tree.get(re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name)))


def _read_parts(contents: object) -> tuple[list[str], list[str]]:
    if not isinstance(contents, list) or not contents:
        raise Refusal("contents: must be a list that is not empty")
    texts: list[str] = []
    urls: list[str] = []
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or not parts:
            raise Refusal("contents: each must hold a list of parts that is not empty")
        for part in parts:
            kind, value = _part(part)
            (texts if kind == "text" else urls).append(value)
    return texts, urls


def _part(part: object) -> tuple[str, str]:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return "text", part["text"]
    blob = _field(part, "inlineData")
    kind, data = _field(blob, "mimeType"), _field(blob, "data")
    if isinstance(kind, str) and isinstance(data, str):
        # The protocol takes both alphabets of base64; Google's clients send the one for URLs.
        return "image", f"data:{kind};base64,{data.replace('-', '+').replace('_', '/')}"
    raise Refusal("contents: a part must be a text, or inlineData with mimeType and data")


def _fields(config: object) -> dict[str, bool]:
    if _field(config, "responseMimeType") != "application/json":
        raise Refusal("generationConfig: this model answers with responseMimeType application/json only")
    schema = _field(config, "responseSchema")
    properties = _field(schema, "properties")
    if not isinstance(properties, dict) or not properties:
        raise Refusal("generationConfig: responseSchema must be an OBJECT with properties")
    order = _field(schema, "propertyOrdering")
    names = order if isinstance(order, list) and sorted(map(str, order)) == sorted(properties) else list(properties)
    return {name: _is_choice(name, properties[name]) for name in names}


def _is_choice(name: str, field: object) -> bool:
    if not isinstance(field, dict) or str(field.get("type")).upper() != "STRING":
        raise Refusal(f"generationConfig: responseSchema: {name}: must be a STRING")
    words = field.get("enum")
    if words is not None and words != list(CHOICES):
        raise Refusal(f"generationConfig: responseSchema: {name}: its enum must be {', '.join(CHOICES)}")
    return words is not None


def answer(asked: GeminiRequest, gains: dict[str, float]) -> dict[str, Any]:
    """The object that was asked for: a choice for each criterion, and the gains in words for a free text.

    Args:
        gains: criterion → how much better the second picture is, 0 in a tie.

    Raises:
        Refusal: the schema names a criterion that is none.
    """
    for name, is_choice in asked.fields.items():
        if is_choice and name not in gains:
            raise Refusal(f"generationConfig: responseSchema: {name}: this model judges {', '.join(gains)}")
    choice = {c: CHOICES[2] if gain == 0 else CHOICES[gain > 0] for c, gain in gains.items()}
    reasons = "; ".join(f"{c.replace('_', ' ')}: second minus first {gain:+.2f}" for c, gain in gains.items())
    return {name: choice[name] if is_choice else reasons for name, is_choice in asked.fields.items()}


def response(model: str, asked: GeminiRequest, said: dict[str, Any]) -> dict[str, Any]:
    """A GenerateContentResponse with one candidate."""
    text = json.dumps(said)
    # A word is a token here.
    words = len(asked.text.split()) + len(asked.instructions.split())
    pictures = len(asked.image_urls) * IMAGE_TOKENS
    answered = len(text.split())
    return {
        "candidates": [
            {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0},
        ],
        "usageMetadata": {
            "promptTokenCount": words + pictures,
            "candidatesTokenCount": answered,
            "totalTokenCount": words + pictures + answered,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": words},
                {"modality": "IMAGE", "tokenCount": pictures},
            ],
        },
        "modelVersion": model,
        "responseId": uuid.uuid4().hex,
    }


def description(model: str) -> dict[str, Any]:
    """A Model, as models.get answers."""
    return {
        "name": f"models/{model}",
        "displayName": model,
        "version": "1",
        "supportedGenerationMethods": ["generateContent"],
    }


def error(refusal: Refusal) -> dict[str, Any]:
    """The body of a refusal, as Google's APIs word it."""
    status = _STATUS.get(refusal.status, "UNKNOWN" if refusal.status < 500 else "INTERNAL")
    found: dict[str, Any] = {"code": refusal.status, "message": str(refusal), "status": status}
    if refusal.code is not None:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        found["details"] = [{"@type": kind, "reason": refusal.code, "domain": "googleapis.com"}]
    return {"error": found}
