"""Keys and passwords: in whatever form they come, they are blotted out, and what is none of them stays readable."""

from __future__ import annotations

import base64
import json
import logging
import sys
from pathlib import Path

import pytest

from dedpo import redact
from dedpo.errors import UserError, excerpt
from dedpo.outputs import manifest

KEY = "sk-Marked+/0123 4567"[:15].replace(" ", "x") + "-marked"
PASSWORD = "pä$$'w\"&rd!"


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "WANDB_API_KEY", "LABEL_STUDIO_API_KEY",
        "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "KF_PIPELINES_IAP_CLIENT_SECRET", "MYSQL_PWD", "my_token",
        "GITHUB_PAT", "SOMEAPIKEY", "OPENAI_API_KEYS", "SERVICE_CREDENTIALS",
        "WANDB_KEY2", "SESSION_COOKIE",
    ],
)  # fmt: skip
@pytest.mark.parametrize("secret", [KEY, PASSWORD])
def test_a_secret_of_the_environment_is_known_in_all_its_forms(
    monkeypatch: pytest.MonkeyPatch, name: str, secret: str
) -> None:
    monkeypatch.setenv(name, f"{secret}\n")
    from html import escape
    from urllib.parse import quote, quote_plus

    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    for form in (
        secret, repr(secret), json.dumps(secret), quote(secret), quote(secret, safe=""), quote_plus(secret),
        escape(secret), f"/{secret}/", quote(secret).replace("%C3%A4", "%c3%a4"), repr(secret.encode()),
        f"b'Bearer {secret}\\n'", f"Authorization: Basic {basic}", f"\\n{secret}", f"x={secret}",
    ):  # fmt: skip
        shown = redact.text(f"before {form} after")
        assert redact.MARK in shown, form
        assert secret not in shown
        assert basic[8:16] not in shown
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert redact.text(shown) == shown


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("OPENAI_API_KEY", "EMPTY", "EMPTY answer"),
        ("OPENAI_API_KEY", "12345678", "12345678 pairs"),
        ("MINIO_PASSWORD", "reference", "reference against dedpo-0"),
        ("OPENAI_API_KEY", "lm-studio", "http://lm-studio:1234"),
        ("TOKENIZERS_PARALLELISM", "disabled-for-now", "disabled-for-now"),
        ("MAX_TOKENS", "10000000", "10000000 tokens"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token", "/var/run/secrets/token: no such file"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/keys/service.json", "/keys/service.json: no such file"),
        ("PWD", "/work/somewhere", "/work/somewhere"),
        ("KEYBOARD", "dvorak-layout", "dvorak-layout"),
        ("HF_TOKEN", "tokenword", "tokenwords are words"),
    ],
)
def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str, written: str) -> None:
    monkeypatch.setenv(name, value)
    assert redact.text(written) == written


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HTTP_PROXY", "http://me:pr0xy%21pass@proxy:3128", "pr0xy!pass"),
        ("https_proxy", "me:pr0xypass@proxy:3128", "pr0xypass"),
        ("DEDPO_WEBHOOK_URL", "https://chat.example.org/hooks/T000/B000", "/hooks/T000/B000"),
        ("DATABASE", "postgresql+psycopg2://u:datab4se@db:5432/x", "datab4se"),
        ("AZURE_STORAGE_CONNECTION_STRING", "Protocol=https;AccountKey=Zm9vYmFyYmF6;X=y", "Zm9vYmFyYmF6"),
        ("GCP_SERVICE_KEY", json.dumps({"private_key": "-----BEGIN\nabcdefghijkl\n-----END"}), "abcdefghijkl"),
        ("OPENAI_API_KEYS", "first-key-1,second-key-2", "second-key-2"),
    ],
)
def test_a_secret_inside_a_variable_is_known_by_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, secret: str
) -> None:
    monkeypatch.setenv(name, value)
    assert secret not in redact.text(f"refused: {secret}.")
    assert secret not in redact.text(f"cannot use {value}")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://me:s3cret@host/x", "https://host/x"),
        ("https://s3cret@host/x", "https://host/x"),
        ("https://me:s3/cret@host/x", "https://host/x"),
        ("ssh://me:s3cret@host:22/x", "ssh://me@host:22/x"),
        ("redis://:s3cret@host", "redis://host"),
        ("s3://ID:s3cret@bucket/x", "s3://ID@bucket/x"),
        ("'me:s3cret@host/v1': no endpoint", "'[password]@host/v1': no endpoint"),
        ("me:s3/cret@host.org/v1", "[password]@host.org/v1"),
        ("me:s3cr@et@host", "[password]@host"),
        ("http_proxy=me:s3cret@proxy:3128", "http_proxy=[password]@proxy:3128"),
        ("http://h/v1?key=s3cret&x=1", "http://h/v1?key=[key]&x=1"),
        ("http://h/v1?X-Amz-Signature=s3cret#f", "http://h/v1?X-Amz-Signature=[key]#f"),
        ("http://h/?x=1&amp;access_token=s3cret", "http://h/?x=1&amp;access_token=[key]"),
        ("{'Authorization': 'Bearer s3cret'}", "{'Authorization': 'Bearer [key]'}"),
        ("(b'authorization', b'Basic czNjcmV0Cg==')", "(b'authorization', b'Basic [key]')"),
        ("X-Goog-Api-Key: s3cret-s3cret", "X-Goog-Api-Key: [key]"),
        ("https://hooks.slack.com/services/T0/B0/s3cret", "https://hooks.slack.com/[key]"),
        ("--set x.api_key=s3cret: unknown", "--set x.api_key=[key]: unknown"),
        ("password = s3cret", "password = [key]"),
        ("secret_access_key = s3/cret", "secret_access_key = [key]"),
        ("X=https;AccountKey=s3cret==;Y=1", "X=https;AccountKey=[key];Y=1"),
        (f"AQ.{'s3cret' * 6} is no key", "[key] is no key"),
        ('{"api_key": "s3cret"}', '{"api_key": "[key]"}'),
        ("Incorrect API key: hf_s3crets3crets3crets3cret.", "Incorrect API key: [key]."),
    ],
)
def test_a_secret_is_known_by_its_form(written: str, shown: str) -> None:
    assert redact.text(written) == shown
    assert redact.text(shown) == shown


@pytest.mark.parametrize(
    "written",
    [
        "git@host:team/repo@v1:outputs/data", ".@v1:outputs/data", "https://host:8080/team/repo@v1:x",
        "http://[::1]:8000/x@y", "python:3.11@sha256:0123abcd", "a cat at 16:9@2x", "mailto:joe@example.org",
        "joe@example.org", "export OPENAI_API_KEY=EMPTY", "$OPENAI_API_KEY: holds characters that a key cannot have",
        "asks for a key (401): Bearer authentication required", "train.lora={rank: 16, alpha: 16}", "max_tokens=1",
        "a.find(b=>c.token===b.token);", "a{margin:0;@media print{b:c}}",
        "s3://bucket/a:b/c@v1", "ssh://git@host:22/x", "basic shapes on a table", "<a href=\"https://x.org\">m@x.org</a>",
    ],
)  # fmt: skip
def test_an_ordinary_text_stays_as_it_is(written: str) -> None:
    assert redact.text(written) == written


def test_a_program_is_rid_of_the_environments_secrets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    program = "x._accessToken=y.parse(z),w={'token':'keyword'}"
    assert redact.known(f"{program};'{KEY}'") == f"{program};'[key]'"


def test_errors_excerpts_and_json_are_exits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    assert KEY not in str(UserError(f"refused {KEY}"))
    # Cut after it was blotted out, so that no beginning of it is left.
    assert KEY[:6] not in excerpt("x" * 150 + f" {KEY}")
    manifest.write_json(tmp_path / "a.json", {"a": [{KEY: f"http://u:{KEY}@h"}], "b": (Path(KEY), 1.5, None)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [{"[key]": "http://h"}], "b": ["[key]", 1.5, None]}
    manifest.write_text(tmp_path / "a.html", f"<p>{KEY}</p>")
    assert (tmp_path / "a.html").read_text() == "<p>[key]</p>"


def test_nothing_printed_logged_or_warned_of_shows_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    before = sys.stdout, sys.stderr
    try:
        with redact.streams():
            print("printed", KEY)
            sys.stderr.writelines([f"{KEY}\n", "written\n"])
            logging.getLogger("x").warning("logged %s", KEY)
            try:
                raise RuntimeError(KEY)
            except RuntimeError:
                logging.getLogger("x").exception("failed")
            assert sys.stdout.isatty() is False
    finally:
        logging.getLogger().removeHandler(handler)
    assert (sys.stdout, sys.stderr) == before
    assert handler.stream is before[1]
    out, err = capsys.readouterr()
    # A progress bar that another test has left may be collected here, and clears its line.
    assert "printed [key]\n" in out
    assert KEY not in out
    assert all(f"{word} [key]" in err for word in ("logged", "RuntimeError:"))
    assert KEY not in err


def test_a_hostile_text_costs_no_time() -> None:
    """Each of these would take hours if a pattern went over it again from every place."""
    for piece in ("a", "a-", "://", "://a:", "a:b@", "key=", "'token'", "a.", "?", "bearer ", "sk-", "eyJa.", "@"):
        redact.text(piece * 20_000)
