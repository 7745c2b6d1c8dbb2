"""A client that asks a broker which is gone, or no longer the right one, is replaced by one that asks the cluster."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.clock import Clock
from worker.kafka import admin_queries
from worker.kafka.admin_queries import RENEW_S, AdminQueries
from worker.settings import Settings

DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
LATE = KafkaError(KafkaError._TIMED_OUT)
MOVED = KafkaError(KafkaError.NOT_COORDINATOR)
AWAY = KafkaError(KafkaError._TRANSPORT)


class FakeAdmin:
    """An admin client; the cluster is there unless `away` says so."""

    away = False

    def __init__(self, _options: object) -> None:
        self.num_looks = 0

    def list_topics(self, *, timeout: float) -> None:
        assert timeout > 0
        self.num_looks += 1
        if FakeAdmin.away:
            raise KafkaException(AWAY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(admin_queries, "time", clock)
    return clock


@pytest.fixture
def queries(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AdminQueries:
    monkeypatch.setattr(admin_queries, "AdminClient", FakeAdmin)
    monkeypatch.setattr(FakeAdmin, "away", False)
    found = AdminQueries(Settings())
    clock.now_s += RENEW_S
    return found


def asked(queries: AdminQueries, error: KafkaError | None = None) -> FakeAdmin:
    """Ask something that ends so, and return the client that was asked."""
    seen: list[FakeAdmin] = []

    def question(admin: object) -> str:
        assert isinstance(admin, FakeAdmin)
        seen.append(admin)
        if error is not None:
            raise KafkaException(error)
        return "answer"

    if error is None:
        assert queries.ask(question) == "answer"
    else:
        with pytest.raises(KafkaException):
            queries.ask(question)
    return seen[0]


def test_an_answer_and_a_refusal_keep_the_client(queries: AdminQueries) -> None:
    assert len({id(asked(queries, error)) for error in (None, DENIED, None)}) == 1


@pytest.mark.parametrize("error", [LATE, MOVED])
def test_a_question_to_a_broker_that_is_not_the_right_one_is_the_last_of_its_client(
    queries: AdminQueries, error: KafkaError
) -> None:
    first = asked(queries, error)
    second = asked(queries)
    assert second is not first
    assert asked(queries) is second


def test_a_client_is_kept_for_a_while_also_where_it_is_refused_at_once(queries: AdminQueries, clock: Clock) -> None:
    asked(queries, MOVED)
    second = asked(queries, MOVED)
    assert asked(queries, MOVED) is second
    clock.now_s += RENEW_S
    assert asked(queries, MOVED) is second
    assert asked(queries) is not second


def test_a_client_is_asked_nothing_before_it_has_reached_the_cluster_and_is_kept_until_then(
    queries: AdminQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator's question that runs out of time before the first connection ends the process (librdkafka 2.16)."""
    monkeypatch.setattr(FakeAdmin, "away", True)
    for _ in range(3):
        with pytest.raises(KafkaException, match="_TRANSPORT"):
            queries.ask(lambda _admin: pytest.fail("was asked"))
    monkeypatch.setattr(FakeAdmin, "away", False)
    admin = asked(queries)
    assert admin.num_looks == 4
    assert asked(queries).num_looks == 4, "once it was there, it is not looked for again"


def test_one_client_is_replaced_once_where_several_threads_wait_for_it(queries: AdminQueries, clock: Clock) -> None:
    new: list[FakeAdmin] = []

    def question(_admin: object) -> None:
        asked(queries, LATE)  # by another thread, meanwhile
        new.append(asked(queries))
        clock.now_s += RENEW_S
        raise KafkaException(LATE)

    with pytest.raises(KafkaException):
        queries.ask(question)
    assert asked(queries) is new[0]
