"""How a run has ended: one line in the log, and in a chat if a webhook is named.

Kubeflow's own word is no answer. It is the state of the loop's DAG in the metadata store (driver/resolve.go, 2.17),
which stays RUNNING after a run with a task from the cache, or with an importer, and FAILED after a try that was
repeated with success. So the last task of the loop leaves a mark: without it, some task has not ended well.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final, TextIO
from urllib.parse import quote

from dedpo import redact
from dedpo.asking.endpoint_checks import NoRedirect
from dedpo.errors import excerpt
from dedpo.kubeflow import volume
from dedpo.redact import without_userinfo

VARIABLE: Final = "DEDPO_WEBHOOK_URL"
# Where people open Kubeflow's pages, which no pod can know by itself.
PAGES: Final = "DEDPO_KUBEFLOW_URL"
TRIES: Final = 3
SECONDS: Final = 10.0
PAUSE: Final = 2.0  # seconds; doubled after each try
MESSAGE: Final = 600  # characters of the reason that are told


def finish(run_id: str, *, primary: str, promoted: bool) -> None:
    """Mark a run as one whose tasks have all ended well.

    Raises:
        UserError: the cache volume takes no file more.
    """
    volume.mark(run_id, {"primary": primary, "promoted": promoted})


def run(*, run: str, run_id: str, state: str, message: str | None = None, pause: float = PAUSE) -> str:
    """Print how a run has ended and, if $DEDPO_WEBHOOK_URL is set, post it there as Slack takes it: {"text": …}.

    A webhook that fails is a warning: a run is not to end as failed because nobody could be told. The address is a
    secret (who has it can post) and is printed nowhere.

    Args:
        run: its name.
        run_id: the id under which `finish` has left its mark, and under which Kubeflow shows it.
        state: Kubeflow's word, such as RUNNING; it is told where the run did not come to its end.
        message: why it failed, if Kubeflow says so.
        pause: seconds between the first two tries.

    Returns:
        the line.
    """
    line = f"{outcome(run, run_id, state, message)}; {page(run_id)}"
    _say(line, sys.stdout)
    if webhook := os.environ.get(VARIABLE, "").strip():
        failure = _post(webhook, line, pause)
        if failure:
            _say(f"warning: ${VARIABLE}: nobody was told ({failure}); check the address in the Secret", sys.stderr)
    return line


def outcome(run: str, run_id: str, state: str, message: str | None) -> str:
    """How a run has ended, in one line."""
    name = excerpt(run, 200)
    known, mark = volume.marked(run_id)
    if mark is not None:
        decided = "is promoted" if mark.get("promoted") else "is not promoted"
        return f"dedpo: {name} succeeded; {excerpt(str(mark.get('primary')), 40)} {decided}"
    reason = f" ({excerpt(message, MESSAGE)})" if message and message.strip() else ""
    said = f"Kubeflow's state: {excerpt(state, 40)}{reason}"
    if known:
        return f"dedpo: {name} did not come to its end; the failed task's log ends with its reason ({said})"
    return f"dedpo: {name} has ended, and without the cache volume nobody can tell here how; see its page ({said})"


def page(run_id: str) -> str:
    """The run's page, as far as it is known where Kubeflow's pages are."""
    path = f"#/runs/details/{quote(run_id, safe='')}"
    where = os.environ.get(PAGES, "").strip()
    if not where.startswith(("http://", "https://")):
        return f"run {excerpt(run_id, 100)}"
    return f"{excerpt(without_userinfo(where), 300).rstrip('/')}/{path}"


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
