"""`python -m worker` is the command `mirrorstream`."""

from worker.cli import main

main()
