"""Opens the stores of items and users, and makes who fills them: followers of topics, or the reading of files.

items_topic, users_topic    a `FactsFollower` each, which goes on where its store ends
items_file, users_file      read into the store at the start, unless it has that very file
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from worker.core.codec import framing, json_reader
from worker.core.codec.json_reader import JsonRules
from worker.core.joining.facts import FactKind
from worker.core.records import Record
from worker.core.steering.followed import Taken
from worker.kafka.facts_follower import FactsFollower
from worker.runtime.joining import files
from worker.runtime.joining.known import KnownFacts
from worker.runtime.joining.store import FactStore, StoreMemory
from worker.runtime.telemetry import Telemetry
from worker.settings import Settings

Decode = Callable[[Record, str], Mapping[str, object]]


# Of `join_memory_bytes`: items that are ready to use.  They halve the CPU of a look: 0.74, not 1.5 ms (2026-11, busy).
# Where all are named evenly, a look took 0.43 ms, and 0.54 ms without any that are ready.
READY_SHARE = 0.125
WRITER_SHARE = 0.25  # of the rest: writing goes through the rows in the order of the topic
READS = {FactKind.ITEMS: 3, FactKind.USERS: 1}  # parts of what is left: an event asks for many items and one user


@dataclass(frozen=True, slots=True)
class Sources:
    """The stores of a worker and who fills them; `known` is None where nothing is joined."""

    known: KnownFacts | None = None
    followers: tuple[FactsFollower, ...] = ()
    loads: tuple[Callable[[], None], ...] = ()  # of files
    kept: ExitStack = field(default_factory=ExitStack)

    def catch_up(self) -> None:
        """Read files and topics to their ends.  Blocks.  Raises `Retryable`, `Fatal`."""
        for load in self.loads:
            load()
        for one in self.followers:
            one.catch_up()


NO_FACTS = Sources()


def topics(settings: Settings) -> Mapping[FactKind, str]:
    """Return the topics of facts, by kind."""
    found = {FactKind.ITEMS: settings.items_topic, FactKind.USERS: settings.users_topic}
    return {kind: topic for kind, topic in found.items() if topic is not None}


def sources(settings: Settings, decode: Decode, telemetry: Telemetry, report: Callable[[str], None]) -> Sources:
    """Open the stores.  `decode` reads an Avro record by the name of its schema.  Raises `BadSettings`."""
    paths = {FactKind.ITEMS: settings.items_file, FactKind.USERS: settings.users_file}
    followed, read = topics(settings), {kind: path for kind, path in paths.items() if path is not None}
    kinds = [kind for kind in FactKind if kind in followed or kind in read]
    if not kinds:
        return NO_FACTS
    kept = ExitStack()
    folder = settings.join_folder or Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="mirrorstream-facts-")))
    ready_bytes = int(settings.join_memory_bytes * READY_SHARE)
    memory = memory_of(kinds, settings.join_memory_bytes - ready_bytes)
    stores: list[FactStore] = []
    followers: list[FactsFollower] = []
    loads: list[Callable[[], None]] = []
    for kind in kinds:
        source = f"topic {followed[kind]}" if kind in followed else f"file {read[kind].resolve()}"
        store = FactStore(folder, kind, source=source, memory=memory[kind])
        kept.callback(store.close)
        stores.append(store)
        if kind in followed:
            reads = _decoding(settings, kind, decode)
            followers.append(
                FactsFollower(settings, followed[kind], kind, store, decode=reads, watch=telemetry, report=report)
            )
        else:
            loads.append(_loading(store, read[kind], telemetry))
    known = KnownFacts(stores, ready_bytes=ready_bytes, behind=_behind(followers))
    return Sources(known, tuple(followers), tuple(loads), kept)


def memory_of(kinds: Sequence[FactKind], num_bytes: int) -> Mapping[FactKind, StoreMemory]:
    """Return how much memory each store takes of so many bytes.

    >>> memory_of([FactKind.ITEMS, FactKind.USERS], 160)[FactKind.ITEMS]
    StoreMemory(reads=90, writes=20)
    """
    writes = int(num_bytes * WRITER_SHARE)
    parts = sum(READS[kind] for kind in kinds)
    return {kind: StoreMemory((num_bytes - writes) * READS[kind] // parts, writes // len(kinds)) for kind in kinds}


def _behind(followers: Sequence[FactsFollower]) -> Callable[[], str]:
    """Return what tells why items may be missing; no event waits for a user."""
    items = [one for one in followers if one.kind is FactKind.ITEMS]
    return lambda: "; ".join(filter(None, (one.behind for one in items)))


def _decoding(settings: Settings, kind: FactKind, decode: Decode) -> Callable[[Record], Mapping[str, object]]:
    """Return what reads a record of facts: JSON where the impressions are JSON, else Avro."""
    if settings.input_format != "json":
        return lambda record: decode(record, kind.schema)
    rules = JsonRules(refuse_unknown=settings.json_unknown_fields == "refuse")
    return lambda record: json_reader.decode(
        framing.split_json(record.value or b"", record.headers)[1], kind.schema, rules
    )


def _loading(store: FactStore, path: Path, telemetry: Telemetry) -> Callable[[], None]:
    def load() -> None:
        taken, refused = files.load(store, path)
        telemetry.facts_taken(store.kind, Taken.TAKEN, taken)
        telemetry.facts_taken(store.kind, Taken.REFUSED, refused)
        telemetry.facts_held(store.kind, store.num_held())

    return load
