"""The one exception a user is meant to read, and what its one line may quote."""

import errno

from dedpo import redact


class UserError(ValueError):
    """Something the user can put right: the command prints it as one line and exits with 2.

    The message names the offending value, the place and the remedy; keys and passwords in it are blotted out.
    """

    def __init__(self, message: str) -> None:
        # A name or a server's text in it may hold a line break.
        super().__init__("".join(c if c.isprintable() else " " for c in redact.text(message)))


def of_disk(error: Exception) -> UserError | None:
    """A file that cannot be opened, whoever named it, or a disk that is full; None for any other error."""
    if not isinstance(error, OSError) or not error.strerror:
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{excerpt(str(error.filename or 'the disk'), 300)}: {error.strerror}; make room and run again"
        )
    if error.filename is None:
        return None
    return UserError(f"{excerpt(str(error.filename), 300)}: {error.strerror}; name another, or put its rights right")


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text from elsewhere (a server, a prompt): one line, no control characters, no secrets."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in redact.text(text)).split())
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
