"""How a run has ended: one line in the log, and in a chat if a webhook is named."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final, TextIO

from dedpo import redact
from dedpo.errors import excerpt
from dedpo.ops.reach import NoRedirect

VARIABLE: Final = "DEDPO_WEBHOOK_URL"
TRIES: Final = 3
SECONDS: Final = 10.0
PAUSE: Final = 2.0  # seconds; doubled after each try
MESSAGE: Final = 600  # characters of the reason that are told


def run(*, run: str, state: str, message: str | None, url: str | None = None, pause: float = PAUSE) -> str:
    """Print how a run has ended and, if $DEDPO_WEBHOOK_URL is set, post it there as Slack takes it: {"text": …}.

    A webhook that fails is a warning: a run is not to end as failed because nobody could be told. The address is a
    secret (who has it can post) and is printed nowhere.

    Args:
        run: its name.
        state: Kubeflow's word, such as SUCCEEDED.
        message: why it failed, if it did.
        url: the run's page, if it is known.
        pause: seconds between the first two tries.

    Returns:
        the line.
    """
    line = outcome(run, state, message) + (f"; {excerpt(url, 300)}" if url else "")
    _say(line, sys.stdout)
    if webhook := os.environ.get(VARIABLE, "").strip():
        failure = _post(webhook, line, pause)
        if failure:
            _say(f"warning: ${VARIABLE}: nobody was told ({failure}); check the address in the Secret", sys.stderr)
    return line


def outcome(run: str, state: str, message: str | None) -> str:
    """How a run has ended, in one line."""
    name = excerpt(run, 200)
    if state == "SUCCEEDED":
        return f"dedpo: {name} succeeded"
    reason = f" ({excerpt(message, MESSAGE)})" if message and message.strip() else ""
    return f"dedpo: {name} ended as {excerpt(state, 40)}{reason}; the failed task's log ends with its reason"


def _post(webhook: str, line: str, pause: float) -> str | None:
    """Why the line was not taken; None if it was."""
    if not webhook.startswith(("http://", "https://")):
        return "no http(s) address"
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = json.dumps({"text": escaped}).encode()
    failure: str | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        failure, is_final = _try(webhook, body)
        if failure is None or is_final:
            return failure
    return f"{failure}, {TRIES} times"


def _try(webhook: str, body: bytes) -> tuple[str | None, bool]:
    """Why one try failed (None: it did not), and whether another would fare no better."""
    try:
        request = urllib.request.Request(  # noqa: S310 (scheme checked above)
            webhook, data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS) as answer:
            answer.read(1000)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}", error.code < 500 and error.code not in (408, 429)
    except (OSError, ValueError, HTTPException) as error:
        # Only the kind: the text of some errors holds the address.
        return type(getattr(error, "reason", None) or error).__name__, isinstance(error, ValueError)
    return None, True


def _say(line: str, stream: TextIO) -> None:
    print(redact.text(line), file=stream, flush=True)
