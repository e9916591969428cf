"""The outcome's one line, whatever Kubeflow's word; and the webhook: a real server that takes it, errs, redirects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dedpo.kubeflow import notify
from dedpo.world.serve import listening

SECRET = "T0PSECRET"
Taken = list[dict[str, Any]]


# What reaches the exit task is the metadata store's state of the loop: none of these tells whether it went well.
WORDS = ["COMPLETE", "CACHED", "RUNNING", "FAILED"]
ID = "5e4f0c9e-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEDPO_CACHE", str(tmp_path))
    monkeypatch.delenv("DEDPO_WEBHOOK_URL", raising=False)
    monkeypatch.delenv("DEDPO_KUBEFLOW_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("state", WORDS)
@pytest.mark.parametrize(("promoted", "decided"), [(True, "is promoted"), (False, "is not promoted")])
def test_a_run_that_came_to_its_end_succeeded_whatever_kubeflow_says(state: str, promoted: bool, decided: str) -> None:
    notify.finish(ID, primary="dedpo_tuned", promoted=promoted)
    line = notify.run(run="dedpo-x7f2k", run_id=ID, state=state)
    assert line == f"dedpo: dedpo-x7f2k succeeded; dedpo_tuned {decided}; run {ID}"


@pytest.mark.parametrize("state", [*WORDS, "SUCCEEDED", "CANCELED", "UNKNOWN"])
def test_a_run_that_did_not_is_none_whatever_kubeflow_says(state: str) -> None:
    notify.finish("another run", primary="dedpo_tuned", promoted=True)
    line = notify.run(run="dedpo-x7f2k", run_id=ID, state=state, message="  ")
    assert "succeeded" not in line
    assert line.startswith("dedpo: dedpo-x7f2k did not come to its end; the failed task's log ends with its reason ")
    assert f"(Kubeflow's state: {state})" in line


@pytest.mark.parametrize("state", WORDS)
def test_without_the_volume_nothing_is_made_up(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDPO_CACHE", "/proc/nowhere")
    notify.finish(ID, primary="dedpo_tuned", promoted=True)
    line = notify.run(run="dedpo-x7f2k", run_id=ID, state=state)
    assert "succeeded" not in line
    assert "nobody can tell here how; see its page" in line


@pytest.mark.parametrize(
    ("where", "link"),
    [
        ("https://kf.example.com/pipeline/", f"https://kf.example.com/pipeline/#/runs/details/{ID}"),
        ("http://127.0.0.1:8080", f"http://127.0.0.1:8080/#/runs/details/{ID}"),
        ("https://me:s3cret@kf.example.com", f"https://kf.example.com/#/runs/details/{ID}"),
        ("kf.example.com", f"run {ID}"),
        ("", f"run {ID}"),
    ],
)
def test_the_runs_page_is_named(where: str, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDPO_KUBEFLOW_URL", where)
    assert notify.run(run="x", run_id=ID, state="RUNNING").endswith(f"; {link}")


@contextmanager
def webhook(answer: Callable[[int], Response]) -> Iterator[tuple[str, Taken]]:
    taken: Taken = []

    async def hook(request: Request) -> Response:
        taken.append(await request.json())
        return answer(len(taken))

    with listening(Starlette(routes=[Route(f"/services/{SECRET}", hook, methods=["POST"])])) as url:
        yield f"{url}/services/{SECRET}", taken


def test_a_chat_is_told_once_and_safely(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with webhook(lambda _: Response("ok")) as (url, taken):
        monkeypatch.setenv("DEDPO_WEBHOOK_URL", url)
        hostile = "a <b> & <!channel>\n\x1b[31msecond line"
        monkeypatch.setenv("DEDPO_KUBEFLOW_URL", "http://kf")
        line = notify.run(run="runs/1", run_id="<1>", state="FAILED", message=hostile)
    assert taken == [{"text": line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}]
    assert "<!channel>" not in taken[0]["text"]
    assert "\n" not in line
    assert "(Kubeflow's state: FAILED (a <b> & <!channel> " in line
    assert line.endswith("http://kf/#/runs/details/%3C1%3E")
    told = capsys.readouterr()
    assert told.out == f"{line}\n"
    assert told.err == ""


def test_an_error_of_the_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(lambda n: Response(status_code=500 if n == 1 else 200)) as (url, taken):
        monkeypatch.setenv("DEDPO_WEBHOOK_URL", url)
        line = notify.run(run="runs/1", run_id=ID, state="RUNNING", pause=0.01)
    assert [t["text"] for t in taken] == [line.replace("&", "&amp;")] * 2


@pytest.mark.parametrize(
    ("status", "tries", "told"), [(500, 3, "HTTP 500, 3 times"), (404, 1, "HTTP 404"), (302, 1, "HTTP 302")]
)
def test_a_webhook_that_fails_is_a_warning_without_its_address(
    status: int, tries: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_: int) -> Response:
        return RedirectResponse("/elsewhere", 302) if status == 302 else Response(status_code=status)

    with webhook(answer) as (url, taken):
        monkeypatch.setenv("DEDPO_WEBHOOK_URL", url)
        notify.run(run="runs/1", run_id=ID, state="FAILED", pause=0.01)
    assert len(taken) == tries
    printed = "".join(capsys.readouterr())
    assert f"warning: $DEDPO_WEBHOOK_URL: nobody was told ({told})" in printed
    assert SECRET not in printed


@pytest.mark.parametrize("address", [f"http://127.0.0.1:9/{SECRET}", f"ftp://x/{SECRET}", f"http://[bad/{SECRET}"])
def test_an_address_that_leads_nowhere_is_a_warning_too(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEDPO_WEBHOOK_URL", address)
    notify.run(run="runs/1", run_id=ID, state="FAILED", message="x", pause=0.01)
    printed = "".join(capsys.readouterr())
    assert "nobody was told" in printed
    assert SECRET not in printed


def test_without_a_webhook_it_is_only_printed(capsys: pytest.CaptureFixture[str]) -> None:
    line = notify.run(run="runs/1", run_id=ID, state="RUNNING")
    assert capsys.readouterr() == (f"{line}\n", "")
