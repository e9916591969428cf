"""Where a pipeline's inputs lie, and whether they can be had: a folder's URI, a version of data, the embedded pairs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Final, Literal

from dedpo import redact
from dedpo.asking.endpoint_checks import Finding, found
from dedpo.errors import UserError, excerpt
from dedpo.kubeflow import source as sources
from dedpo.lineage import references

Origin = Literal["folder", "versioned", "world"]
# Object stores that Kubeflow's importer reads → the fsspec driver's module, and where its credentials come from.
STORES: Final = {
    "s3": ("s3fs", ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE")),
    "gs": ("gcsfs", ("GOOGLE_APPLICATION_CREDENTIALS",)),
    "minio": (None, ()),
}
FORMS: Final = "a folder's URI (s3://bucket/pairs, gs://…), REPO@REVISION:PATH, or world:200"
SECONDS: Final = 8.0
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VERSION: Final = re.compile(r".+@[^@:]+:[^:]+")
_LISTING: Final = (
    "import sys, fsspec\n"
    "fs, path = fsspec.core.url_to_fs(sys.argv[1])\n"
    "print('there' if fs.exists(path) else 'nothing')"
)


def origin(source: str) -> Origin:
    """What kind of source a text names.

    Raises:
        UserError: none.
    """
    if not source.strip():
        raise UserError(f"source: empty; name {FORMS}")
    if re.fullmatch(r"world(:.*)?", source) and not Path(source).is_dir():
        sources.world(source)
        return "world"
    scheme = _SCHEME.match(source)
    if Path(source).is_dir() or (scheme and scheme[1].lower() in STORES):
        return "folder"
    if _VERSION.fullmatch(source):
        references.parse(source)
        return "versioned"
    if scheme:
        raise UserError(_no_store("source", source, scheme[1]))
    raise UserError(f"source: '{_shown(source)}': no such folder here; name {FORMS}")


def written(source: str, prompts: str) -> tuple[Origin | None, list[Finding]]:
    """What kind of source is named, None if none, and what is wrong with how it and the prompts' file are written."""
    problem = _prompts_problem(source, prompts)
    findings = [Finding("prompts", "missing", problem)] if problem else []
    try:
        return origin(source), findings
    except UserError as error:
        return None, [*findings, Finding("source", "missing", str(error))]


def _prompts_problem(source: str, prompts: str) -> str | None:
    """What is wrong with the prompts' file, as far as it can be told without fetching the source."""
    if not prompts or Path(prompts).is_absolute() or ".." in Path(prompts).parts or "://" in prompts:
        return f"prompts: '{excerpt(prompts)}': name a text file inside the source, such as prompts.txt"
    if source.strip() and Path(source).is_dir():
        try:
            sources.locate(Path(source), prompts)
        except UserError as error:
            return str(error)
    lists = [f"prompts-{split}.txt" for split in ("train", "validation", "test")]
    if source.partition(":")[0] == "world" and not Path(source).is_dir() and prompts not in lists:
        return f"prompts: '{excerpt(prompts)}': the embedded world has {', '.join(lists)}"
    return None


def version(source: str, commits: list[str]) -> Finding:
    """Whether the revision of REPO@REVISION:PATH exists; its commit, if it can be told, joins `commits`."""

    def look() -> tuple[bool, str]:
        asked = references.parse(source)
        commit = references.commit_of(asked.repo, asked.revision)
        if commit is None:
            raise UserError(
                f"{asked}: an abbreviated commit cannot be looked up from afar; write all 40 digits, a tag or a branch"
            )
        commits.append(commit)
        return True, f"{asked} is commit {commit[:12]}"

    return found("source", look)


def store(what: str, uri: str) -> Finding:
    """Whether something lies at an object store's URI, if driver and credentials are here; else a note."""
    return found(what, lambda: _listed(uri))


def _listed(uri: str) -> tuple[bool, str]:
    scheme = uri.partition("://")[0]
    module, credentials = STORES.get(scheme.lower(), (None, ()))
    shown = _shown(uri)
    if module is None or util.find_spec(module) is None or util.find_spec("fsspec") is None:
        return False, f"{shown}: not looked at (no driver for {scheme}:// in this image)"
    if not any(os.environ.get(name) for name in credentials):
        return False, f"{shown}: not looked at (none of ${', $'.join(credentials)} is set here)"
    # In a child, which can be ended: drivers retry for minutes where a host does not answer.
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _LISTING, uri], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{shown}: no answer in {SECONDS:.0f} s; check endpoint and egress") from None
    if done.returncode:
        reason = excerpt((done.stderr.strip().splitlines() or ["no message"])[-1], 200)
        raise UserError(f"{shown}: {reason}; check bucket and credentials")
    if "there" not in done.stdout:
        raise UserError(f"{shown}: nothing lies there; check bucket and path")
    return True, f"{shown} is there"


def labels(uri: str) -> Finding:
    """Labels that are there already: a URI, or a folder here."""
    scheme = _SCHEME.match(uri)
    if scheme and scheme[1].lower() in STORES:
        return store("labels", uri)
    if scheme:
        return Finding("labels", "missing", _no_store("labels", uri, scheme[1]))
    if not (Path(uri) / "labels.parquet").is_file():
        return Finding("labels", "missing", f"labels: '{_shown(uri)}': no labels.parquet there; name a labels folder")
    return Finding("labels", "ok", f"{_shown(uri)} is there")


def _no_store(what: str, uri: str, scheme: str) -> str:
    known = ", ".join(f"{name}://" for name in STORES)
    return f"{what}: {_shown(uri)}: unknown scheme '{excerpt(scheme, 30)}'; known are {known}"


def _shown(text: str) -> str:
    return excerpt(redact.without_userinfo(text))
