"""What a vLLM server says at `/metrics` of how busy it is, from two scrapes.

Series of several engines behind one address (data parallelism) are taken together: their queues are summed, and of
cache usage the worst counts.

>>> page = '''
... vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
... vllm:num_requests_waiting{engine="1",model_name="m"} 1.0
... vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
... vllm:inter_token_latency_seconds_sum{engine="0",model_name="m"} 9.0
... vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 300.0
... '''
>>> figures = ScrapedLoad.read(page)
>>> figures.load(since=None)
ServerLoad(waiting=3.0, kv_usage=0.25, token_s=0.0)
>>> figures.load(since=ScrapedLoad(0, 0, token_seconds=8.0, tokens=200.0)).token_s
0.01
>>> ScrapedLoad.read("# something else") is None
True
"""

import re
from dataclasses import dataclass
from itertools import islice
from typing import Self

from worker.core.resilience.spare_seats import ServerLoad

WAITING, KV_USAGE = "num_requests_waiting", "kv_cache_usage_perc"
TOKEN_SECONDS, TOKENS = "inter_token_latency_seconds_sum", "inter_token_latency_seconds_count"
# The page is read in the event loop, and a server may be anybody's: one line of 4 MiB took 550 ms (2026-11).
_LINE = re.compile(rf"^vllm:(?:{WAITING}|{KV_USAGE}|{TOKEN_SECONDS}|{TOKENS})[{{ ][^\n]*", re.MULTILINE)
_SERIES = re.compile(r"vllm:(\w+)(?:\{.*\})? +(\S+)(?: +-?\d+)?\s*")
MAX_LINE_CHARS = 1_000
MAX_SERIES = 4_000  # four for each engine behind the address


@dataclass(frozen=True, slots=True)
class ScrapedLoad:
    """Of one scrape; what vLLM does not tell is NaN or, of tokens, 0."""

    waiting: float  # requests
    kv_usage: float  # share of the cache, 0 to 1
    token_seconds: float = 0.0  # between tokens of one request, since the server began, seconds
    tokens: float = 0.0  # how many such times that is the sum of

    @classmethod
    def read(cls, page: str) -> Self | None:
        """Return the figures of a page; None if it does not tell how many requests wait and how full the cache is."""
        lines = [match[0] for match in islice(_LINE.finditer(page), MAX_SERIES + 1)]
        if len(lines) > MAX_SERIES or any(len(line) > MAX_LINE_CHARS for line in lines):
            return None
        found: dict[str, list[float]] = {}
        for series in filter(None, map(_SERIES.fullmatch, lines)):
            try:
                found.setdefault(series[1], []).append(float(series[2]))
            except ValueError:
                return None
        if WAITING not in found or KV_USAGE not in found:
            return None
        # `max` would pass over a NaN that is not the first.
        usage = found[KV_USAGE]
        worst = max(usage) if sum(usage) == sum(usage) else float("nan")
        return cls(sum(found[WAITING]), worst, sum(found.get(TOKEN_SECONDS, ())), sum(found.get(TOKENS, ())))

    def load(self, since: "ScrapedLoad | None") -> ServerLoad:
        """Return the load, with the mean time per token since an earlier scrape; a restart in between makes it 0."""
        tokens = self.tokens - since.tokens if since else 0.0
        seconds = self.token_seconds - since.token_seconds if since else 0.0
        return ServerLoad(self.waiting, self.kv_usage, max(0.0, seconds / tokens) if tokens > 0 else 0.0)
