"""Breaks a real Apache Kafka and the worker, and counts what comes out: `python -m tests.faults --help`."""

import sys
from pathlib import Path

# Beside pytest, which does it too: what `tests/integration` has is used here under the same name in both.
sys.path.insert(0, str(Path(__file__).parents[1]))
