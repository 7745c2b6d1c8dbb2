"""A client that was not answered in time is not asked again: it may wait for a broker that is gone."""

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from worker.kafka.admin_queries import AdminQueries
from worker.settings import Settings

FAILED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
LATE = KafkaError(KafkaError._TIMED_OUT)


@pytest.fixture
def queries() -> AdminQueries:
    return AdminQueries(Settings(bootstrap_servers="127.0.0.1:1"))


def asked(queries: AdminQueries, error: KafkaError | None = None) -> AdminClient:
    """Ask something that ends so, and return the client that was asked."""
    seen: list[AdminClient] = []

    def question(admin: AdminClient) -> str:
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
    assert len({id(asked(queries, error)) for error in (None, FAILED, None)}) == 1


def test_a_question_that_ran_out_of_time_is_the_last_of_its_client(queries: AdminQueries) -> None:
    first = asked(queries, LATE)
    second = asked(queries)
    assert second is not first
    assert asked(queries) is second


def test_one_client_is_replaced_once_where_several_threads_wait_for_it(queries: AdminQueries) -> None:
    new: list[AdminClient] = []

    def question(admin: AdminClient) -> None:
        asked(queries, LATE)  # by another thread, meanwhile
        new.append(asked(queries))
        raise KafkaException(LATE)

    with pytest.raises(KafkaException):
        queries.ask(question)
    assert asked(queries) is new[0]
