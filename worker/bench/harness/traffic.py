"""The input: generated impressions of a typical size, spread evenly over partitions."""

from collections.abc import Iterable, Iterator
from itertools import islice

from confluent_kafka import KafkaError, Message, Producer

from worker.core.codec.avro_encoder import Encoder
from worker.core.errors import Fatal
from worker.core.records import Impression
from worker.demo import scenes
from worker.demo.independent_count import Count
from worker.kafka import error_text

SLATE_SIZE = 10  # of control and of the candidate
MIN_HISTORY = 8  # entries, of at most 10
PARTITIONS = 4
QUESTIONS_AN_EVENT = 3  # one SLATE per slate, and a DUEL
_DRAWN_AN_EVENT = 6  # 3 of 11 users have a history of this length
_DELIVERY_S = 60.0


def impressions(num: int, *, seed: int = 1) -> Iterator[Impression]:
    """Yield `num` impressions, each with a control and a candidate slate, that is three questions."""
    drawn = scenes.impressions(seed, num_users=100 + _DRAWN_AN_EVENT * num, events_per_user=1, slate_size=SLATE_SIZE)
    return islice((one for one in drawn if len(one.user.history) >= MIN_HISTORY), num)


def publish(
    bootstrap: str, topic: str, impressions: Iterable[Impression], *, partitions: int = PARTITIONS
) -> frozenset[tuple[str, str, str]]:
    """Send impressions, evenly over the partitions; return the expected responses: event, question, variant.

    Raises `Fatal` if they are not delivered.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 2})
    encoder, count, failed = Encoder("RecommendationImpression"), Count(), list[str]()

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error_text.explain(error))

    for number, one in enumerate(impressions):
        user = one.user.user_id.encode()
        producer.produce(topic, encoder.encode(one), user, partition=number % partitions, on_delivery=on_delivery)
        producer.poll(0)
        count.expect(one.event_id, [slate.variant for slate in one.slates])
    if producer.flush(_DELIVERY_S) or failed:
        raise Fatal(f"{topic}: the bench's impressions were not delivered: {failed[:1] or 'Kafka does not answer'}")
    return frozenset(count.expected)
