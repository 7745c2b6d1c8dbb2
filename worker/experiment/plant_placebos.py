"""Placebos for an experiment's traffic: read impressions to where they end, and put their placebos beside them.

    impressions  ->  users of the share  ->  placebo of each kind  ->  the same topic, under `<experiment>~<kind>`

The worker answers them like any impression and needs no change.  Foreign events, which a mapping reads, get placebos
too, on a topic of their own: whoever else reads the events shall not find our Avro among them.

Which users take part is a hash, and a placebo's event id is one too, so planting twice plants the same: readers count
it once.  Decoys are the items that were offered least, in other people's slates of the same domain; while fewer than
`LEAST_DECOYS` are known there are no decoy placebos.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from worker.core.codec.impression import ids_only
from worker.core.errors import BadSettings, Poison
from worker.core.records import Impression, Item, Message, Role
from worker.core.seeding import unit
from worker.core.steering.placebo_ids import Placebo, experiment_of
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


@dataclass(frozen=True, slots=True)
class Planted:
    """How many placebos of each kind were sent, and how many were there already, by the id of their experiment."""

    sent: Mapping[str, int]
    present: Mapping[str, int]


def plant(
    settings: KafkaClientSettings,
    experiment: str,
    *,
    share: float,
    placebos_topic: str | None,
    tell: Callable[[int], None],
) -> Planted:
    """Send placebos of the first input topic to `placebos_topic`, None for the same, but for those that are there.

    The topics are read twice: first for what there is, so that the first users get decoys, too.  `tell` is called with
    the number of impressions read.

    Raises `Retryable` or `Fatal` as Kafka and the registry do, and a second run after it adds nothing twice;
    `BadSettings` if no impression is of the experiment, or if a worker of these settings would not read the placebos.
    """
    topic = settings.input_topics[0]
    if is_pattern(topic):
        raise BadSettings(f"input_topics: {topic} is a pattern; placebos need the name of one topic")
    target = _target(settings, topic, placebos_topic)
    encoder = registry.impressions_encoder(settings, target)
    decoys, known, there = Decoys(), set[str](), set[str]()
    for impression in _impressions(settings, (topic, target), tell):
        decoys.see(impression)
        if len(known) < MAX_KNOWN or impression.experiment_id == experiment:
            known.add(impression.experiment_id)
        if experiment_of(impression.experiment_id) == experiment != impression.experiment_id:
            there.add(impression.event_id)
    check_known(experiment, (name for name in known if name and _MARK not in name))
    sent, present = Counter[str](), Counter[str]()
    with closing(admin.Publisher(settings)) as publisher:
        for impression in _impressions(settings, (topic,), tell):
            for one in placebos(impression, decoys, share=share) if impression.experiment_id == experiment else ():
                if one.event_id in there:
                    present[one.experiment_id] += 1
                else:
                    publisher.send(Message(target, one.user.user_id.encode(), encoder.encode(one)))
                    sent[one.experiment_id] += 1
    return Planted(sent, present)


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


def _impressions(
    settings: KafkaClientSettings, topics: Sequence[str], tell: Callable[[int], None]
) -> Iterator[Impression]:
    """Yield the impressions of topics, from their beginnings to where they end."""
    form, schemas = input_forms.load(settings), registry.schemas(settings)
    num_read = 0
    with closing(Following(settings, topics, Reached({}))) as following:
        while not following.at_end:
            records, _ = following.batch(IDLE_S)
            for record in records:
                try:
                    impression = registry.impression_of(record, schemas, form)
                except Poison as poison:
                    impression = ids_only(poison)  # the worker joins it, or dead-letters it with its placebos
                if impression is not None:
                    yield impression
            num_read += len(records)
            tell(num_read)
