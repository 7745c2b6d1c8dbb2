"""The loops beside the worker, each a process: `python -m worker.bench.plain.peers.NAME OPTIONS` until SIGTERM.

They run in whatever environment has their framework, so they import its client and of the worker only what knows none.
"""
