"""Mirrorstream: impressions in, simulated responses with rationales out, exactly once.

Start reading in `worker.pipeline.loop`; the nouns are in `worker.core.records`.
"""

from importlib.metadata import version

__version__ = version("mirrorstream")
