"""Placebos for an experiment's traffic: read impressions to where they end, and put their placebos beside them.

    impressions  ->  users of the share  ->  placebo of each kind  ->  the same topic, under `<experiment>~<kind>`

The worker answers them like any impression and needs no change.  Foreign events, which a mapping reads, get placebos
too, on a topic of their own: whoever else reads the events shall not find our Avro among them.

Which users take part is a hash, and a placebo's event id is one too, so planting twice plants the same: readers count
it once.  Decoys are the items that were offered least, in other people's slates of the same domain; while fewer than
`LEAST_DECOYS` are known there are no decoy placebos.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing

from worker.core.codec.impression import ids_only
from worker.core.errors import BadSettings, Poison
from worker.core.records import Impression, Item, Message, Record, Role
from worker.core.seeding import unit
from worker.core.steering.placebo_ids import Placebo
from worker.core.topics.topic_patterns import TopicPatterns, is_pattern
from worker.experiment.definition import check_known
from worker.experiment.quality.placebos import placebo
from worker.kafka import admin, registry
from worker.kafka.follower import Following, Reached
from worker.settings import input_forms
from worker.settings.groups import KafkaClientSettings

LEAST_DECOYS = 50  # of a domain: fewer would come again and again
MAX_ITEMS = 10_000  # of a domain that are remembered, about 20 MB
MAX_KNOWN = 1_000  # experiments that are remembered, to be named where the one that was asked for is none
IDLE_S = 0.5
_MARK = "~"  # of a placebo's experiment id


class Decoys:
    """The items of each domain, and how often control offered them."""

    def __init__(self) -> None:
        """Start with none."""
        self._items: defaultdict[str, dict[str, Item]] = defaultdict(dict)
        self._offered: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def see(self, impression: Impression) -> None:
        """Remember what control offered."""
        items, offered = self._items[impression.domain], self._offered[impression.domain]
        for slate in impression.slates:
            for item in slate.items if slate.role is Role.CONTROL else ():
                if item.item_id in items or len(items) < MAX_ITEMS:
                    items.setdefault(item.item_id, item)
                    offered[item.item_id] += 1

    def unpopular(self, domain: str) -> list[Item]:
        """Return the half that was offered least; none while they are few."""
        items, offered = self._items[domain], self._offered[domain]
        ranked = sorted(items, key=lambda name: (offered[name], name))[: len(items) // 2]
        return [items[name] for name in ranked] if len(ranked) >= LEAST_DECOYS else []


def placebos(impression: Impression, decoys: Decoys, *, share: float) -> Iterator[Impression]:
    """Yield an impression's placebos, if its user takes part; none of a placebo."""
    name = impression.experiment_id
    if name and _MARK not in name and unit("placebo", name, impression.user.user_id) < share:
        unpopular = decoys.unpopular(impression.domain)
        found = (placebo(impression, kind, unpopular=unpopular) for kind in Placebo)
        yield from (one for one in found if one)


def plant(
    settings: KafkaClientSettings,
    experiment: str,
    *,
    share: float,
    placebos_topic: str | None,
    tell: Callable[[int], None],
) -> Mapping[str, int]:
    """Send placebos of the first input topic to `placebos_topic`, None for the same; return how many of each.

    `tell` is called with the number of impressions read.

    Raises `Retryable` or `Fatal` as Kafka and the registry do, and a second run after it adds nothing twice;
    `BadSettings` if no impression is of the experiment, or if a worker of these settings would not read the placebos.
    """
    topic = settings.input_topics[0]
    if is_pattern(topic):
        raise BadSettings(f"input_topics: {topic} is a pattern; placebos need the name of one topic")
    target = _target(settings, topic, placebos_topic)
    encoder = registry.impressions_encoder(settings, target)
    schemas = registry.schemas(settings)
    following, publisher = Following(settings, [topic], Reached({})), admin.Publisher(settings)
    decoys, sent, num_read = Decoys(), Counter[str](), 0
    known: set[str] = set()
    with closing(following), closing(publisher):
        while not following.at_end:
            records, _ = following.batch(IDLE_S)
            for impression in _decoded(records, schemas, settings):
                decoys.see(impression)
                if len(known) < MAX_KNOWN or impression.experiment_id == experiment:
                    known.add(impression.experiment_id)
                if impression.experiment_id == experiment:
                    for one in placebos(impression, decoys, share=share):
                        publisher.send(Message(target, one.user.user_id.encode(), encoder.encode(one)))
                        sent[one.experiment_id] += 1
            num_read += len(records)
            tell(num_read)
    check_known(experiment, (name for name in known if name and _MARK not in name))
    return sent


def _target(settings: KafkaClientSettings, topic: str, placebos_topic: str | None) -> str:
    if placebos_topic is None and settings.mapping is not None:
        raise BadSettings(
            f"mapping: {topic} has events for {settings.mapping}, and placebos are Mirrorstream's own impressions: name"
            " a topic of their own with --topic, and in the worker's input_topics"
        )
    target = placebos_topic or topic
    if not TopicPatterns(settings.input_topics, settings.group_protocol).read([target]):
        raise BadSettings(f"--topic: {target} is not among the input_topics ({', '.join(settings.input_topics)})")
    return target


def _decoded(
    records: Iterable[Record], schemas: registry.Schemas, settings: KafkaClientSettings
) -> Iterator[Impression]:
    form = input_forms.load(settings)
    for record in records:
        try:
            impression = registry.impression_of(record, schemas, form)
        except Poison as poison:
            impression = ids_only(poison)  # the worker joins it, or dead-letters it with its placebos
        if impression is not None:
            yield impression
