"""`python -m faultload` is the `faultload` command."""

from faultload.cli import main

main()
