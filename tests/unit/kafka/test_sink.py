"""7 produce, 8 commit: every way a transaction can end, as a table of what fails and what is made of it.

The client is a fake whose calls fail as scripted with the client's own errors; which calls follow an error matters as
much as the outcome: after a time-out of the commit nobody may abort, and who is fenced may call nothing any more.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.support.clock import Clock
from worker.core.delivery.handover_messages import Aborted, Committed, Flush, Head, InDoubt, Refused, Settled
from worker.core.errors import Fatal, Fenced
from worker.core.records import Message, Partition
from worker.kafka import offset_sender as offsets, rights, sink
from worker.kafka.positions import topic_partitions
from worker.kafka.sink import KafkaSink
from worker.settings import load

IN = Partition("impressions", 0)
FLUSH = Flush((Head(IN, 1, 12, (Message("responses", b"user", b"answer"),), origins=(11,)),), b"metadata")
ONE, OTHER = Message("responses", b"user", b"one"), Message("responses", b"user", b"two")
TWO = Flush((Head(IN, 1, 12, (ONE, OTHER), origins=(10, 11)),))  # of two records
SAME = Flush((Head(IN, 1, 12, (ONE, OTHER), origins=(11, 11)),))  # of one

PASSING = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, retriable=True)
ABORTABLE = KafkaError(KafkaError.UNKNOWN_MEMBER_ID, txn_requires_abort=True)
TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, retriable=True)  # of a commit: librdkafka offers the call again
BROKEN = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)
FENCED = KafkaError(KafkaError._FENCED, fatal=True)
EPOCH = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, txn_requires_abort=True)  # a fence that asks for an abort
TAKEN_OVER = KafkaError(KafkaError.FENCED_INSTANCE_ID, txn_requires_abort=True)
DENIED = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, txn_requires_abort=True)
NOTE_TOO_LARGE = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE, txn_requires_abort=True)
UNDELIVERED = KafkaError(KafkaError._MSG_TIMED_OUT)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
BATCH_TOO_LARGE = KafkaError(KafkaError.RECORD_LIST_TOO_LARGE)
INVALID = KafkaError(KafkaError.INVALID_RECORD)
POLICY = KafkaError(KafkaError.POLICY_VIOLATION)

Failure = Any  # an error of the client's, a kind of exception, or None
BEGUN = "begin produce send_offsets"


def told(value: object) -> str | None:
    """Name a case by its errors: `commit _TIMED_OUT`."""
    if isinstance(value, dict):
        return ", ".join(f"{call} {told(failure)}" for call, failure in value.items()) or "nothing fails"
    if isinstance(value, list):
        return " then ".join(str(told(one)) for one in value)
    if isinstance(value, KafkaException):
        return told(value.args[0])
    return value.name() if isinstance(value, KafkaError) else getattr(value, "__name__", None)


class FakeProducer:
    """Kafka's producer: a call's n-th use fails with its n-th failure; `delivery` is that of the n-th message."""

    def __init__(self, failures: Mapping[str, Iterable[Failure]]) -> None:
        self._failures = {call: deque(every) for call, every in failures.items()}
        self._reports: list[Callable[[], None]] = []
        self._undelivered = False
        self.calls: list[str] = []

    def init_transactions(self, timeout_s: float) -> None:
        self._call("init")

    def begin_transaction(self) -> None:
        self._call("begin")

    def produce(self, topic: str, value: bytes, key: bytes, *, headers: object, on_delivery: Any) -> None:
        self._call("produce")
        error = self._next("delivery")
        self._undelivered |= error is not None
        self._reports.append(lambda: on_delivery(error, value))

    def poll(self, timeout_s: float) -> None:
        if timeout_s:
            self.calls.append("poll")

    def send_offsets_to_transaction(self, positions: object, metadata: object, timeout_s: float) -> None:
        self._call("send_offsets")

    def commit_transaction(self, timeout_s: float) -> None:
        """As the client: it first waits for all reports, and a message that failed fails the transaction."""
        self._report()
        self._call("commit")
        if self._undelivered:
            raise KafkaException(ABORTABLE)

    def abort_transaction(self, timeout_s: float) -> None:
        self._report()
        self._undelivered = False
        self._call("abort")

    def flush(self, timeout_s: float) -> int:
        self._report()
        self.calls.append("flush")
        return int(self._next("flush") is not None)

    def list_topics(self, topic: str, timeout_s: float) -> None:
        """Know of none that is missing."""

    def close(self, timeout_s: float) -> None:
        self.calls.append("close")

    def _report(self) -> None:
        for report in self._reports:
            report()
        self._reports.clear()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        failure = self._next(name)
        if isinstance(failure, KafkaError):
            raise KafkaException(failure)
        if failure is not None:
            raise failure

    def _next(self, name: str) -> Failure:
        left = self._failures.get(name)
        return left.popleft() if left else None


class FakeSource:
    """What of the source a sink asks; the n-th commit fails with the n-th failure."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = deque(failures)
        self.ids: Exception | bool = True  # whether topics are what they were; an exception: nobody can say
        self.asked_ids = self.num_flushed = 0

    def offsets_of(self, heads: Collection[Head]) -> list[TopicPartition] | None:
        self.asked_ids += 1
        if isinstance(self.ids, Exception):
            raise self.ids
        ids = dict.fromkeys((head.partition for head in heads), "A")
        return topic_partitions(heads, ids) if self.ids else None

    def flushed(self, heads: Collection[Head]) -> None:
        self.num_flushed += 1

    def commit(self, offsets: list[TopicPartition]) -> None:
        if self._failures:
            raise self._failures.popleft()

    def committed(self, partitions: frozenset[Partition]) -> dict[Partition, int]:
        self.commit([])
        return dict.fromkeys(partitions, 7)


def nobody_answers(*_asked: object) -> None:
    raise KafkaException(TIMED_OUT)


class Bench:
    """A sink on fakes; `producers` are those that it makes, all with one script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.producers: list[FakeProducer] = []
        self._monkeypatch = monkeypatch
        for module in (sink, offsets):
            monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(sink, "RETRY_S", 1e-6)
        monkeypatch.setattr(rights, "describe", nobody_answers)

    @property
    def calls(self) -> str:
        """What was called on the last producer, since it is open."""
        return " ".join(self.producers[-1].calls).removeprefix("init").strip()

    async def open(self, source: Any = None, settings: dict[str, Any] | None = None, **failures: Any) -> KafkaSink:
        """Return an open sink; a failure is one, or a list for the uses of that call."""
        listed = {call: found if isinstance(found, list) else [found] for call, found in failures.items()}

        def make(_config: object) -> FakeProducer:
            self.producers.append(FakeProducer(listed))
            return self.producers[-1]

        self._monkeypatch.setattr(sink, "Producer", make)
        own = {"start_from": "earliest", "worker_id": "a", **(settings or {})}
        asked: Any = source or FakeSource()
        found = KafkaSink(load(None, own), asked)
        await found.open()
        return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.mark.parametrize(
    ("failures", "outcome", "calls"),
    [
        ({}, Committed, f"{BEGUN} commit"),
        # no effect: the same bytes go again
        ({"begin": ABORTABLE}, Aborted, "begin abort"),
        ({"produce": ABORTABLE}, Aborted, "begin produce abort"),
        ({"send_offsets": ABORTABLE}, Aborted, f"{BEGUN} abort"),
        ({"commit": ABORTABLE}, Aborted, f"{BEGUN} commit abort"),
        ({"delivery": UNDELIVERED}, Aborted, f"{BEGUN} commit abort"),
        # passes: the call is made again, and no other
        ({"produce": BufferError}, Committed, "begin produce poll produce send_offsets commit"),
        ({"send_offsets": PASSING}, Committed, f"{BEGUN} send_offsets commit"),
        ({"send_offsets": [PASSING, ABORTABLE]}, Aborted, f"{BEGUN} send_offsets abort"),
        # nobody knows: nothing more is called on this producer
        ({"begin": BROKEN}, InDoubt, "begin"),
        ({"produce": BROKEN}, InDoubt, "begin produce"),
        ({"send_offsets": BROKEN}, InDoubt, BEGUN),
        ({"commit": BROKEN}, InDoubt, f"{BEGUN} commit"),
        ({"commit": TIMED_OUT}, InDoubt, f"{BEGUN} commit"),
        ({"commit": PASSING}, InDoubt, f"{BEGUN} commit"),
        ({"send_offsets": ABORTABLE, "abort": TIMED_OUT}, InDoubt, f"{BEGUN} abort"),
        ({"send_offsets": ABORTABLE, "abort": BROKEN}, InDoubt, f"{BEGUN} abort"),
        ({"commit": ABORTABLE, "abort": TIMED_OUT}, InDoubt, f"{BEGUN} commit abort"),
        # somebody else has our name
        ({"begin": FENCED}, Fenced, "begin"),
        ({"produce": FENCED}, Fenced, "begin produce"),
        ({"send_offsets": FENCED}, Fenced, BEGUN),
        ({"send_offsets": EPOCH}, Fenced, BEGUN),
        ({"send_offsets": TAKEN_OVER}, Fenced, BEGUN),
        ({"commit": FENCED}, Fenced, f"{BEGUN} commit"),
        ({"send_offsets": ABORTABLE, "abort": FENCED}, Fenced, f"{BEGUN} abort"),
        # no other try can help
        ({"begin": DENIED}, Fatal, "begin"),
        ({"produce": DENIED}, Fatal, "begin produce"),
        ({"send_offsets": DENIED}, Fatal, BEGUN),
        ({"send_offsets": NOTE_TOO_LARGE}, Fatal, BEGUN),
        ({"send_offsets": ABORTABLE, "abort": DENIED}, Fatal, f"{BEGUN} abort"),
    ],
    ids=told,
)
async def test_what_is_made_of_each_error(bench: Bench, failures: dict[str, Any], outcome: type, calls: str) -> None:
    opened = await bench.open(**failures)
    assert await ended(opened) is outcome
    assert bench.calls == calls
    assert len(bench.producers) == 1
    if not issubclass(outcome, Fatal):
        assert bool(opened.held_up) == (outcome is not Committed)


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("ids", [False, KafkaException(TIMED_OUT)], ids=["made anew", "nobody can say"])
async def test_nothing_is_published_for_a_topic_that_may_be_another_one(
    bench: Bench, ids: Exception | bool, delivery: str
) -> None:
    """What was read of the old topic and what is committed to the new one must never meet."""
    source = FakeSource()
    opened = await bench.open(source, settings={"delivery": delivery})
    source.ids = ids
    assert await ended(opened) is Aborted
    assert bench.calls == ""
    assert opened.held_up
    assert source.num_flushed == 0
    source.ids = True
    assert await ended(opened) is Committed
    assert source.num_flushed == 1


async def ended(opened: KafkaSink, flush: Flush = FLUSH) -> type:
    """Return the kind of a flush's outcome, or of the error that ends the worker."""
    try:
        return type(await opened.flush(flush))
    except Fatal as fatal:
        return type(fatal)


@pytest.mark.parametrize("error", [FENCED, EPOCH], ids=["fenced", "epoch"])
@pytest.mark.parametrize("call", ["begin", "produce", "send_offsets", "commit", "abort"])
async def test_a_fence_of_a_name_that_nobody_else_can_have_is_our_own_time_out(
    bench: Bench, call: str, error: KafkaError
) -> None:
    """The broker has ended the transaction, or it is committed: a new producer finds out which."""
    before = {"send_offsets": ABORTABLE} if call == "abort" else {}
    opened = await bench.open(settings={"worker_id": None}, **before, **{call: error})
    assert await opened.flush(FLUSH) == InDoubt(is_fenced=True)
    assert bench.calls.split()[-1] == call  # no abort, though the error may ask for one


async def test_another_holder_of_our_group_instance_is_a_fence_even_without_a_name(bench: Bench) -> None:
    opened = await bench.open(settings={"worker_id": None}, send_offsets=TAKEN_OVER)
    assert await ended(opened) is Fenced


async def test_offsets_that_never_pass_are_aborted_within_the_transactions_time(bench: Bench) -> None:
    opened = await bench.open(send_offsets=[PASSING] * 10_000, settings={"transaction_timeout_s": 5})
    found = await opened.flush(FLUSH)
    assert isinstance(found, Aborted)
    assert found.now_s == pytest.approx(105, abs=offsets.RETRY_S * 2)
    assert bench.calls.split()[-2:] == ["send_offsets", "abort"]


@pytest.mark.parametrize("delivery", [[UNDELIVERED, None], [None, UNDELIVERED]], ids=["first", "second"])
async def test_one_message_that_is_not_delivered_takes_all_of_its_flush_back(
    bench: Bench, delivery: list[Failure]
) -> None:
    """And the next try starts afresh: what failed before is no reason any more."""
    opened = await bench.open(delivery=delivery)
    assert await ended(opened, TWO) is Aborted
    assert bench.calls == "begin produce produce send_offsets commit abort"
    assert await ended(opened, TWO) is Committed
    assert bench.calls.endswith("abort begin produce produce send_offsets commit")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TOO_LARGE, "too_large"), (BATCH_TOO_LARGE, "too_large"), (INVALID, "refused"), (POLICY, "refused")],
    ids=told,
)
@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
async def test_a_message_that_the_broker_refuses_names_its_record(
    bench: Bench, delivery: str, error: KafkaError, reason: str
) -> None:
    opened = await bench.open(settings={"delivery": delivery}, delivery=[None, error])
    found = await opened.flush(TWO)
    assert isinstance(found, Refused)
    assert [(one.partition, one.offset, one.reason) for one in found.refusals] == [(IN, 11, reason)]
    assert found.certain
    assert "topic responses refuses it" in found.refusals[0].detail
    assert opened.held_up == ""


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
async def test_a_batch_that_is_refused_as_a_whole_says_nothing_of_which_record_is_meant(
    bench: Bench, delivery: str
) -> None:
    """The next flush then sends its messages one by one, up to the one that is refused."""
    opened = await bench.open(settings={"delivery": delivery}, delivery=[INVALID, INVALID, None, INVALID])
    found = await opened.flush(TWO)
    assert isinstance(found, Refused)
    assert [one.offset for one in found.refusals] == [10, 11]
    assert not found.certain
    before = len(bench.producers[-1].calls)
    found = await opened.flush(TWO)
    assert isinstance(found, Refused)
    assert [one.offset for one in found.refusals] == [11]
    assert found.certain
    assert "produce flush produce flush" in " ".join(bench.producers[-1].calls[before:])


async def test_two_messages_of_one_record_that_are_refused_are_that_record(bench: Bench) -> None:
    opened = await bench.open(delivery=[INVALID, INVALID])
    found = await opened.flush(SAME)
    assert isinstance(found, Refused)
    assert found.certain


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
async def test_messages_that_the_client_itself_refuses_are_all_named_at_once(bench: Bench, delivery: str) -> None:
    opened = await bench.open(settings={"delivery": delivery}, produce=[TOO_LARGE, TOO_LARGE])
    found = await opened.flush(TWO)
    assert isinstance(found, Refused)
    assert [one.offset for one in found.refusals] == [10, 11]
    assert found.certain


async def test_a_refusal_whose_abort_is_in_doubt_is_in_doubt(bench: Bench) -> None:
    opened = await bench.open(delivery=INVALID, abort=TIMED_OUT)
    assert await ended(opened) is InDoubt


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), "does not exist"),
        (KafkaError(KafkaError.INVALID_TIMESTAMP), "clock"),
        (KafkaError(KafkaError.INVALID_MSG), "network"),
        (KafkaError(KafkaError.UNSUPPORTED_COMPRESSION_TYPE), "compression.type"),
        (KafkaError(KafkaError.NOT_ENOUGH_REPLICAS), "min.insync.replicas"),
        (KafkaError(KafkaError.UNKNOWN), "UNKNOWN"),
    ],
    ids=told,
)
async def test_what_would_refuse_every_other_message_too_waits_and_names_the_topic(
    bench: Bench, error: KafkaError, words: str
) -> None:
    opened = await bench.open(delivery=error)
    assert await ended(opened) is Aborted
    assert "topic responses" in opened.held_up
    assert words in opened.held_up


async def test_a_missing_right_ends_the_worker_and_names_the_topic(bench: Bench) -> None:
    opened = await bench.open(delivery=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(Fatal, match="produce to topic responses"):
        await opened.flush(FLUSH)


@pytest.mark.parametrize(
    ("failures", "commit", "outcome"),
    [
        ({}, [], Committed),
        ({"delivery": UNDELIVERED}, [], Aborted),
        ({"produce": ABORTABLE}, [], Aborted),
        ({"flush": TIMED_OUT}, [], Aborted),
        ({}, [TimeoutError()], Aborted),
        ({}, [KafkaException(PASSING)], Aborted),
        ({}, [KafkaException(DENIED)], Fatal),
        ({}, [KafkaException(TAKEN_OVER)], Fenced),
        ({"delivery": KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)}, [], Fatal),
        ({"produce": FENCED}, [], Fenced),
    ],
    ids=told,
)
async def test_at_least_once_commits_what_is_delivered_and_never_says_in_doubt(
    bench: Bench, failures: dict[str, Any], commit: list[Exception], outcome: type
) -> None:
    opened = await bench.open(FakeSource(*commit), {"delivery": "at-least-once"}, **failures)
    assert await ended(opened) is outcome
    assert bench.calls == "produce flush"


@pytest.mark.parametrize(
    ("errors", "ends"),
    [
        ([PASSING, TIMED_OUT], None),  # tried again until Kafka answers
        ([DENIED], Fatal),
        ([FENCED], Fenced),
        ([KafkaError(KafkaError.UNSUPPORTED_VERSION)], Fatal),
    ],
    ids=told,
)
async def test_the_first_call_of_a_producer_is_made_again_only_if_that_can_help(
    bench: Bench, errors: list[KafkaError], ends: type[Fatal] | None
) -> None:
    if ends is None:
        await bench.open(init=errors)
        assert bench.producers[-1].calls == ["init"] * (len(errors) + 1)
        return
    with pytest.raises(Fatal) as caught:
        await bench.open(init=errors)
    assert caught.type is ends
    assert bench.producers[-1].calls == ["init"]


async def test_a_doubt_is_settled_by_a_new_producer_and_the_committed_offsets(bench: Bench) -> None:
    """Asked again while nobody answers; the old producer is closed and never used again."""
    opened = await bench.open(FakeSource(TimeoutError(), KafkaException(PASSING)), commit=TIMED_OUT)
    assert await ended(opened) is InDoubt
    assert await opened.settle(frozenset({IN})) == Settled({IN: 7}, bench.clock.now_s)
    assert len(bench.producers) == 2
    assert bench.producers[1].calls == ["init"]
    assert "abort" not in bench.producers[0].calls
