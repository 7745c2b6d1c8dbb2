"""Makes what workers obey from the topics of definitions and readouts; the rules are `worker.core.steering`'s.

    topic experiments    ->  ByExperiment of Orders   --+
                                                 +-->  Steering, one value that the loop reads for each event
    topic readouts       ->  ByExperiment of Decided  --+

The followers' threads replace whole values and never change one, so the loop needs no lock.  A record that cannot be
used stops nobody: it is logged and counted, and what was known of its experiment stays.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Generic, Protocol, TypeVar

from worker.core.errors import BadRecord, BadSettings, MirrorstreamError
from worker.core.records import Record
from worker.core.steering.decided import Decided, heard, read_readout
from worker.core.steering.followed import Followed, Taken
from worker.core.steering.orders import ExperimentState, Orders, read_orders
from worker.core.steering.steering import Steering
from worker.settings import Settings

log = logging.getLogger(__name__)

MAX_EXPERIMENTS = (
    100_000  # of one topic; 0.6 KB each, measured; more with many `eligible` values (Python 3.11, 2026-11)
)
MAX_BYTES = 100_000_000  # of the records that hold, of one topic; 100,000 ordinary ones have a third of it
MAX_TOLD = 20  # changes of one batch that get a line each
MAX_REFUSED_TOLD = 10  # records of one batch that cannot be used
MAX_WHY_CHARS = 1_000  # of what is wrong with one
V = TypeVar("V")
Decode = Callable[[Record, str], Mapping[str, object]]


class SteeringWatch(Protocol):
    """Who counts what is followed."""

    def followed(self, topic: str, taken: Taken) -> None:
        """Count a record of a topic that is followed."""

    def experiments(self, *, running: int, decided: int) -> None:
        """Set how many experiments are running, and how many of these have ended asking."""


class ByExperiment(Generic[V]):
    """The newest value by experiment, of one topic.

    `read` returns (experiment, value) of a record, from the value before it; it raises `BadRecord` or `BadSettings`
    for one that cannot be used.  `values` is replaced, never changed.
    """

    def __init__(
        self, read: Callable[[Record, Mapping[str, V]], tuple[str, V]], count: Callable[[Taken], None]
    ) -> None:
        self._read, self._count = read, count
        self._anew: dict[str, V] | None = None  # of a topic that is being read from its start
        self._keyed: dict[bytes, str] = {}  # the experiment of a key that is not its id, as other serialisers write it
        self._sizes: dict[str, tuple[bytes, int]] = {}  # by experiment: its newest record's key, and bytes
        self._num_bytes = 0
        self._refused: list[tuple[Record, str]] = []  # of the batch, and why
        self.values: Mapping[str, V] = {}

    def take(self, found: Followed) -> None:
        """Take a batch.  Raises `Retryable`, with nothing taken, if a schema cannot be fetched now."""
        self._refused = []
        if found.made_anew:
            self._anew = {}
            self._keyed, self._sizes, self._num_bytes = {}, {}, 0
        elif not found.records and self._anew is None:
            return
        values = dict(self.values if self._anew is None else self._anew)
        for taken in [self._one(record, values) for record in found.records]:
            self._count(taken)
        self._tell_refused()
        if self._anew is not None and not found.at_end:
            self._anew = values
        else:
            self.values, self._anew = values, None

    def _one(self, record: Record, values: dict[str, V]) -> Taken:
        key = record.key or b""
        if record.value is None:
            name = self._keyed.get(key, key.decode(errors="replace"))
            values.pop(name, None)
            self._forget(name)
            return Taken.REMOVED
        try:
            name, value = self._read(record, values)
        except (BadRecord, BadSettings) as error:
            return self._refuse(record, str(error))
        except MirrorstreamError:
            raise
        except Exception as error:  # noqa: BLE001 - a record that nobody thought of must not stop all that come after it
            return self._refuse(record, repr(error))
        if name not in values and len(values) >= MAX_EXPERIMENTS:
            return self._refuse(record, f"{MAX_EXPERIMENTS:,} experiments are known; want no more: delete old ones")
        num_bytes = len(key) + len(record.value)
        if self._num_bytes - self._sizes.get(name, (b"", 0))[1] + num_bytes > MAX_BYTES:
            return self._refuse(record, f"{MAX_BYTES:,} bytes of records are known; want no more: delete old ones")
        self._remember(name, key, num_bytes)
        values[name] = value
        return Taken.TAKEN

    def _remember(self, name: str, key: bytes, num_bytes: int) -> None:
        """Note the newest record of an experiment; its older keys are forgotten, for a writer may use any number."""
        self._forget(name)
        self._sizes[name] = key, num_bytes
        self._num_bytes += num_bytes
        if key != name.encode(errors="replace"):
            self._keyed[key] = name

    def _forget(self, name: str) -> None:
        key, num_bytes = self._sizes.pop(name, (b"", 0))
        self._num_bytes -= num_bytes
        if self._keyed.get(key) == name:
            del self._keyed[key]

    def _refuse(self, record: Record, why: str) -> Taken:
        self._refused.append((record, why[:MAX_WHY_CHARS]))
        return Taken.REFUSED

    def _tell_refused(self) -> None:
        """Log what cannot be used, once: a batch comes again and again while a schema of it cannot be fetched."""
        for record, why in self._refused[:MAX_REFUSED_TOLD]:
            log.warning("%s: cannot be used: %s; what was known of its experiment stays", record.where, why)
        if (more := len(self._refused) - MAX_REFUSED_TOLD) > 0:
            log.warning("%d records more cannot be used", more)
        self._refused = []


class Board:
    """What the definitions and the readouts say now; `current` may be called from any thread."""

    def __init__(self, settings: Settings, decode: Decode, watch: SteeringWatch) -> None:
        """Decode records by `decode(record, name of the schema)`, which raises `Poison` or `Retryable`."""
        self._decode, self._watch = decode, watch
        self._orders = ByExperiment[Orders](
            self._read_orders, partial(watch.followed, settings.experiments_topic or "")
        )
        self._decided = ByExperiment[Decided](self._read_readout, partial(watch.followed, settings.readouts_topic))
        self.current = Steering()

    def take_definitions(self, found: Followed) -> None:
        """Take records of the topic of definitions.  Raises `Retryable`, with nothing taken."""
        self._orders.take(found)
        self._changed()

    def take_readouts(self, found: Followed) -> None:
        """Take records of the topic of readouts.  Raises `Retryable`, with nothing taken."""
        self._decided.take(found)
        self._changed()

    def _read_orders(self, record: Record, _: Mapping[str, Orders]) -> tuple[str, Orders]:
        orders = read_orders(self._decode(record, "ExperimentDefinition"))
        return orders.experiment_id, orders

    def _read_readout(self, record: Record, before: Mapping[str, Decided]) -> tuple[str, Decided]:
        readout = read_readout(self._decode(record, "ExperimentReadout"))
        return readout.experiment_id, heard(before.get(readout.experiment_id), readout)

    def _changed(self) -> None:
        """Show the newest values to the loop; say what is new of them."""
        before, now = self.current, Steering(self._orders.values, self._decided.values)
        if (now.orders is before.orders and now.decided is before.decided) or now == before:
            return
        self.current = now
        changes = list(_changes(before, now))
        for line in changes[:MAX_TOLD]:
            log.info("experiment %s", line)
        if len(changes) > MAX_TOLD:
            log.info("and %d experiments more have changed", len(changes) - MAX_TOLD)
        running = [one for one in now.orders.values() if one.state is ExperimentState.RUNNING]
        ended = sum(one.stop_when_decided and _has_ended(now.decided.get(one.experiment_id)) for one in running)
        self._watch.experiments(running=len(running), decided=ended)


def _changes(before: Steering, now: Steering) -> Iterator[str]:
    """Yield a line for each experiment that is new, gone, or changed."""
    for name, orders in now.orders.items():
        known = before.orders.get(name)
        if orders is not known and orders != known:
            yield f"{name}: {_told(orders)}"
    for name in before.orders.keys() - now.orders.keys():
        yield f"{name}: has no definition any more; it is simulated as the settings say"
    for name, decided in now.decided.items():
        if decided is before.decided.get(name):
            continue
        stops = name in now.orders and now.orders[name].stop_when_decided
        if stops and decided.has_ended != _has_ended(before.decided.get(name)):
            yield f"{name}: {'decided' if decided.has_ended else 'no longer decided'}"


def _has_ended(decided: Decided | None) -> bool:
    return decided is not None and decided.has_ended


def _told(orders: Orders) -> str:
    """Return what an experiment's definition asks for, in one line."""
    asked = {
        "questions": orders.questions or f"{orders.needs} unless the settings say other",
        "sample_rate": orders.sample_rate, "slate_share": orders.slate_share, "draws": orders.draws,
        "slate_depth": orders.slate_depth, "duel_depth": orders.duel_depth,
        "stop_when_decided": orders.stop_when_decided or None,
    }  # fmt: skip
    return ", ".join([orders.state, *(f"{name} {value}" for name, value in asked.items() if value is not None)])
