"""The outside changes its shape, and a judge counts what was lost: `python -m tests.faults.outside --help`.

Topics are deleted and made again, partitions are added, registries answer something else, records are written by other
people's tools.  Read `ledger` first (what a scenario promises), then `judge` (what is counted), `play` (what a scenario
can do) and one of the scenarios in `kinds`.
"""
