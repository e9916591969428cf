"""The one exception a user is meant to read, and what its one line may quote."""


class UserError(ValueError):
    """Something the user can put right: the command prints it as one line and exits with 2.

    The message names the offending value, the place and the remedy.
    """


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text from elsewhere (a server, a prompt), on one line and without control characters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
