"""The other loops, each in its own process: `python -m worker.bench.plain.peers.NAME OPTIONS` until SIGTERM.

They run in the environment of their framework, so they import its client, and only worker modules that use no client.
"""
