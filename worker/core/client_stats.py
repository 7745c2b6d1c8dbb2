"""What librdkafka says of one client from time to time (its STATISTICS.md), reduced to a few figures.

>>> parse('{"msg_cnt": 3, "brokers": {"kafka:9092/1": {"rtt": {"p99": 2500}, "throttle": {"p99": 40}}}}')
ClientStats(round_trip_s=0.0025, throttle_s=0.04, num_requests=0, num_failures=0, num_messages=3, num_bytes=0)
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

INTERNAL = "-1"  # a partition of the client's own


@dataclass(frozen=True, slots=True)
class ClientStats:
    """One client, all its brokers together: the worst time of any, and sums."""

    round_trip_s: float = 0.0  # 99th percentile of requests since the last report
    throttle_s: float = 0.0  # how long brokers made us wait, likewise
    num_requests: int = 0  # that wait to be sent or answered
    num_failures: int = 0  # requests that failed or timed out, since the client began
    num_messages: int = 0  # fetched and not polled yet, or produced and not delivered yet
    num_bytes: int = 0


def parse(text: str | bytes) -> ClientStats:
    """Return the figures of one report.  Raises `ValueError` for what is none."""
    found = json.loads(text)
    if not isinstance(found, dict):
        seen = type(found).__name__
        raise ValueError(f"statistics of the Kafka client: want a JSON object, seen {seen}")  # noqa: TRY004 - of a text
    brokers = list(_values(found, "brokers"))
    partitions = [
        one
        for topic in _values(found, "topics")
        for number, one in topic.get("partitions", {}).items()
        if number != INTERNAL
    ]
    return ClientStats(
        round_trip_s=_worst(brokers, "rtt") / 1e6,  # microseconds
        throttle_s=_worst(brokers, "throttle") / 1e3,  # milliseconds
        num_requests=_sum(brokers, "outbuf_cnt", "waitresp_cnt"),
        num_failures=_sum(brokers, "txerrs", "rxerrs", "req_timeouts"),
        num_messages=int(found.get("msg_cnt", 0)) + _sum(partitions, "fetchq_cnt"),
        num_bytes=int(found.get("msg_size", 0)) + _sum(partitions, "fetchq_size"),
    )


def _values(found: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    values: Iterable[Mapping[str, Any]] = found.get(name, {}).values()
    return values


def _worst(brokers: Iterable[Mapping[str, Any]], name: str) -> float:
    return float(max((one.get(name, {}).get("p99", 0) for one in brokers), default=0))


def _sum(ones: Iterable[Mapping[str, Any]], *names: str) -> int:
    return sum(max(0, int(one.get(name, 0))) for one in ones for name in names)
