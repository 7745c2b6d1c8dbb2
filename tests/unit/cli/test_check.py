"""A check ends, whatever does not answer, and says what to do."""

import pytest

from worker.cli import check
from worker.core.errors import Retryable
from worker.settings import load


def test_transactions_that_never_start_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker tries for ever; a single broker with Kafka's defaults would hang a check."""
    monkeypatch.setattr(check, "OPEN_S", 0.3)
    with pytest.raises(Retryable, match=r"for 0 s; a cluster of fewer than three brokers wants transaction.state.log"):
        check._transactional_id(load(None, {"bootstrap_servers": "127.0.0.1:1"}))
