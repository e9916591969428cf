"""gate.json and promotion.json."""

from __future__ import annotations

from typing_extensions import TypedDict

# One question of the gate; `value` is None where it could not be measured, which is no pass.
Check = TypedDict("Check", {
    "name": str, "setting": str, "value": float | None, "limit": float, "passed": bool, "detail": str,
})  # fmt: skip

# gate.json.
Gate = TypedDict("Gate", {"annotator": str, "passed": bool, "checks": list[Check]})

# One of a promotion's.
Reason = TypedDict("Reason", {"what": str, "value": float | None, "limit": float, "passed": bool, "text": str})

# promotion.json.
Promotion = TypedDict("Promotion", {
    "promoted": bool, "primary": str, "metric": str, "reasons": list[Reason], "report_sha256": str,
    "policy_sha256": str | None, "settings": dict[str, object],
})  # fmt: skip
