"""The command with one wait cut short: a worker that must stop says so for 3 s instead of 30."""

from worker.cli.main import main
from worker.kafka import input_topics

if __name__ == "__main__":
    input_topics.TOLD_S = 3.0
    main()
