"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Something the user can put right: the command prints it as one line and exits with 2.

    The message names the offending value, the place and the remedy.
    """
