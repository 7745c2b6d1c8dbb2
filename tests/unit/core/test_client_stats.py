"""A few figures out of librdkafka's report, whatever else it holds or lacks."""

import json
from typing import Any

import pytest

from worker.core.client_stats import ClientStats, parse

# Shortened from a report of librdkafka 2.16 to a consumer of twelve partitions.
REPORT: dict[str, Any] = {
    "type": "consumer", "replyq": 0, "msg_cnt": 0, "msg_size": 0,
    "brokers": {
        "127.0.0.1:22894/0": {
            "nodeid": 0, "outbuf_cnt": 1, "waitresp_cnt": 2, "txerrs": 1, "req_timeouts": 2, "rxerrs": 3,
            "rtt": {"p99": 511_999}, "throttle": {"p99": 250},
        },
        "GroupCoordinator": {"nodeid": -1, "outbuf_cnt": 0, "waitresp_cnt": 1, "rtt": {"p99": 900_000}},
    },
    "topics": {
        "impressions": {"partitions": {
            "0": {"fetchq_cnt": 5, "fetchq_size": 500}, "1": {"fetchq_cnt": 2, "fetchq_size": 70},
            "-1": {"fetchq_cnt": 1_000, "fetchq_size": 1_000},
        }}
    },
}  # fmt: skip


def test_times_are_the_worst_brokers_and_queues_are_sums() -> None:
    assert parse(json.dumps(REPORT)) == ClientStats(0.9, 0.25, 4, 6, 7, 570)


def test_a_producers_messages_are_those_that_are_not_delivered() -> None:
    assert parse(json.dumps({"type": "producer", "msg_cnt": 3, "msg_size": 90})) == ClientStats(0, 0, 0, 0, 3, 90)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "null", "7"])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"statistics|Expecting"):
        parse(text)
