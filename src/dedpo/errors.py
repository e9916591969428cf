"""The one exception a user is meant to read, and what its one line may quote."""

import errno
import os
import re

from dedpo import redact


class UserError(ValueError):
    """Something the user can put right: the command prints it as one line and exits with 2.

    The message names the offending value, the place and the remedy; keys and passwords in it are blotted out.
    """

    def __init__(self, message: str) -> None:
        # A name or a server's text in it may hold a line break.
        super().__init__("".join(c if c.isprintable() else " " for c in redact.text(message)))


def of_system(error: Exception) -> OSError | None:
    """The operating system's error, also one that a library in Rust, such as safetensors, tells in words of its own."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def of_disk(error: Exception) -> UserError | None:
    """A file that cannot be opened, whoever named it, or a disk that is full; None for any other error."""
    found = of_system(error)
    if found is None or not found.strerror:
        return None
    if found.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{excerpt(str(found.filename or 'the disk'), 300)}: {found.strerror}; make room and run again"
        )
    if found.filename is None:
        return None
    return UserError(f"{excerpt(str(found.filename), 300)}: {found.strerror}; name another, or put its rights right")


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text from elsewhere (a server, a prompt): one line, no control characters, no secrets."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in redact.text(text)).split())
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
