"""Bytes that nobody foresaw, through everything that a worker does to a record: each is answered or dead-lettered.

`chain` is the worker's path without Kafka and model.  `mutations` makes inputs from valid ones; `python -m tests.fuzz`
plays many of them and measures each; `python -m tests.fuzz.guided` lets coverage choose them (atheris).
"""
