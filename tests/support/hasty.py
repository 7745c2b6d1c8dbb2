"""The command with one wait cut short: a worker that must stop says so for `TOLD_S` seconds, or 3, instead of 30."""

import os

from worker.cli.main import main
from worker.kafka import input_topics

if __name__ == "__main__":
    input_topics.TOLD_S = float(os.environ.get("TOLD_S", "3"))
    main()
