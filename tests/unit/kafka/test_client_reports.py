"""Reports of the client come in where it is polled: whatever they hold, polling goes on."""

from typing import Any, cast

import pytest

from worker.core.client_stats import ClientStats
from worker.kafka.client_reports import ClientReports


def keep(reports: ClientReports, text: Any) -> None:
    cast("Any", reports.options["stats_cb"])(text)


def test_the_last_report_is_kept() -> None:
    reports = ClientReports()
    assert reports() == ClientStats()
    keep(reports, '{"msg_cnt": 3}')
    assert reports().num_messages == 3


@pytest.mark.parametrize(
    "text", ["", "[]", '{"brokers": 7}', '{"brokers": {"a": {"rtt": 5}}}', '{"msg_cnt": "x"}', None]
)
def test_a_report_that_cannot_be_read_changes_nothing(text: Any) -> None:
    reports = ClientReports()
    keep(reports, '{"msg_cnt": 3}')
    keep(reports, text)
    assert reports().num_messages == 3
