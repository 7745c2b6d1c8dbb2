"""`python -m worker` is the command `mirrorstream`."""

from worker.cli.main import main

main()
