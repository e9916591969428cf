"""The one exception a user is meant to read, and what its one line may quote."""

from dedpo import redact


class UserError(ValueError):
    """Something the user can put right: the command prints it as one line and exits with 2.

    The message names the offending value, the place and the remedy; keys and passwords in it are blotted out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redact.text(message))


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text from elsewhere (a server, a prompt): one line, no control characters, no secrets."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in redact.text(text)).split())
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
