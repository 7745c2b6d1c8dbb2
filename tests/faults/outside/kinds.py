"""The scenarios, by the name of their kind."""

from collections.abc import Callable
from dataclasses import dataclass

from . import anew, members, patterns, readers, records, registries, schemas, topics
from .play import Play


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of scenario."""

    play: Callable[[Play], None]
    share: int = 1  # how often it comes in a round of all kinds
    patient: bool = False  # on a broker that waits for a new group's members, as Kafka's default is


KINDS: dict[str, Kind] = {
    "made-anew": Kind(anew.made_anew, share=5),
    "deleted": Kind(topics.deleted, share=2),
    "outputs-anew": Kind(topics.outputs_anew),
    "grown": Kind(topics.grown),
    "born": Kind(topics.born),
    "first-start": Kind(members.first_start, share=2, patient=True),
    "backfill": Kind(members.backfill, patient=True),
    "pattern": Kind(patterns.pattern, share=2),
    "registry": Kind(registries.lying, share=3),
    "schema": Kind(schemas.foreign, share=2),
    "batch": Kind(records.unreadable_batch),
    "records": Kind(records.mixed, share=2),
    "noisy": Kind(records.noisy_source),
    "experiment": Kind(readers.experiment),
    "replay": Kind(readers.replay),
}
