"""Breaks a real Apache Kafka and the worker, and counts what comes out: `python -m tests.faults --help`."""
