"""Where the judge answers, and the key: from the settings and the environment."""

from __future__ import annotations

import os
from typing import Final

from dedpo.asking.endpoints import address, check_key
from dedpo.contract.sections import JudgeConfig
from dedpo.errors import UserError

GOOGLE: Final = "https://generativelanguage.googleapis.com"
API_VERSION: Final = "v1beta"
KEY_NAMES: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def base_url(config: JudgeConfig) -> str:
    """Where the judge answers: judge.base_url, else $GEMINI_BASE_URL, else Google; UserError as `endpoints.address`."""
    return address(
        config.base_url,
        "GEMINI_BASE_URL",
        setting="judge.base_url",
        kind="an endpoint",
        example=f"{GOOGLE}, without /{API_VERSION}",
        instead="; give the key in $GEMINI_API_KEY instead",
        otherwise=GOOGLE,
    ).removesuffix(f"/{API_VERSION}")


def api_key() -> str:
    """$GEMINI_API_KEY, else $GOOGLE_API_KEY.

    Raises:
        UserError: neither is set, or it holds characters that a header cannot carry.
    """
    name = next((n for n in KEY_NAMES if os.environ.get(n, "").strip()), None)
    if name is None:
        raise UserError(
            "$GEMINI_API_KEY: not set, nor is $GOOGLE_API_KEY; export the key (any word where the endpoint asks for "
            "none); 'dedpo judge --dry-run' needs none"
        )
    return check_key(os.environ[name].strip(), name)
