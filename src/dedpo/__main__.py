"""`python -m dedpo` is the `dedpo` command."""

from dedpo.cli import main

main()
