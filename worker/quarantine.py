"""2 decode: holds what could not be decoded until its dead letter may leave, and lets nothing pass it.

    closed    a letter leaves once every record before it is finished: one that waits can still be held
    open      no letter leaves and nothing new is taken.  Every 30 s the oldest held record is decoded again: a mended
              registry heals it.  If it does not heal, one further record is let in: a mended producer heals that
    closed    what was held is decoded once more, or leaves as dead letters if a person said that it really is bad

When to open and close is `worker.breaker`'s.  Held records are not finished, so their partitions commit nothing behind
them; the note beside the offset opens the next owner's breaker.  What is held is bounded by the window.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker.breaker import Breaker
from worker.errors import Poison
from worker.flight import Flight, InFlight
from worker.handover import Handover
from worker.intake import Decoded, Intake
from worker.ports import Watch
from worker.records import Message, Partition, Record
from worker.sampling import Skip

log = logging.getLogger(__name__)

MAX_OVER = 1_000  # records a probe may let in past a full window: 8 h of them, then a person must say
PROBE_TIMEOUT_S = 10.0  # longer is an outage of the registry
TURN_S = 0.01  # how often letters that wait are looked at


@dataclass(slots=True)
class _Held:
    """Why a record could not be decoded."""

    poison: Poison
    again: bool = False  # decode it once more before its letter leaves


class Quarantine:
    """Decodes records one by one; `ready`, `finish` and `bury` take what becomes of each."""

    def __init__(
        self,
        intake: Intake,
        watch: Watch,
        *,
        flight: Flight,
        handover: Handover,
        ready: Callable[[InFlight, Decoded], Awaitable[None]],
        finish: Callable[[InFlight, tuple[Message, ...]], None],
        bury: Callable[[InFlight, Poison], None],
        remark: Callable[[Partition], None],
        clock: Callable[[], float],
    ) -> None:
        """Hold nothing yet; `remark` is told of every partition whose note has changed."""
        self._intake, self._watch, self._flight, self._handover = intake, watch, flight, handover
        self._ready, self._finish, self._bury, self._remark = ready, finish, bury, remark
        self._clock = clock
        self._breaker = Breaker()
        self._held: dict[InFlight, _Held] = {}  # in the order in which they came
        self._decoding: set[InFlight] = set()
        self._noted: set[Partition] = set()  # whose note says that the breaker is open
        self._lets_one_in = False
        self._num_let_in = 0  # since the breaker opened

    @property
    def shut(self) -> bool:
        """Say whether no further record shall be taken on."""
        return bool(self._breaker.why) and not self._lets_one_in

    @property
    def lets_one_in(self) -> bool:
        """Say whether the next record shall be taken on even if the window is full.

        What is held may fill the window, and while the breaker is open only a further record makes room.
        """
        return self._lets_one_in and self._num_let_in < MAX_OVER

    @property
    def held_up(self) -> str:
        """Why the worker is not ready, "" if it is."""
        if not self._breaker.why:
            return self._intake.held_up
        oldest = next(iter(self._held), None)
        example = f" (such as {oldest.record.where}: {self._held[oldest].poison})" if oldest else ""
        return (
            f"breaker open: {self._breaker.why}{example}; {len(self._held)} held, nothing is taken on: mend the"
            " producer or the registry, or say that they are bad: `mirrorstream dlq accept`"
        )

    async def take(self, record: Record) -> None:
        """Take one record on: decode it, decide whether it is simulated, and go on with it."""
        if not self._handover.start(record.partition, record.epoch, record.offset):
            self._watch.stale()
            return
        self._num_let_in += self._lets_one_in
        self._lets_one_in = False
        entry = self._flight.take(record, self._clock())
        self._watch.consumed()
        await self._decode(entry)

    async def run(self) -> None:
        """Let letters leave and probe, for ever."""
        while True:
            await asyncio.sleep(TURN_S)
            if not self._breaker.why:
                self._drop_void()
                await self._let_go()
            elif self._breaker.probes(now_s=self._clock()):
                self._drop_void()
                await self._probe()

    def accept(self, num_next: int) -> str:
        """Close the breaker by hand, and let as many more bad records pass; return what was done."""
        if not self._breaker.why:
            return "the breaker is not open"
        self._breaker.accept(num_next, now_s=self._clock())
        self._closed("accepted")
        return f"closed: {len(self._held)} held records leave as dead letters; the counting starts anew"

    def note(self, partition: Partition) -> str:
        """Return why the next owner of a partition shall open its breaker, "" if it shall not."""
        return self._breaker.why if partition in self._noted else ""

    def restore(self, partition: Partition, why: str) -> None:
        """Take the note of a partition that is ours now; what was held of it before is void."""
        self._noted.discard(partition)
        if not why:
            return
        self._noted.add(partition)
        if not self._breaker.why:
            self._breaker.restore(why, now_s=self._clock())
            self._opened()

    def keeps(self, partition: Partition, offset: int) -> bool:
        """Say whether a record waits for what nobody here can bring about: the registry, a mend, a person."""
        held = self._held if self._breaker.why else ()
        return any(
            (entry.record.partition, entry.record.offset) == (partition, offset) and self._flight.holds(entry)
            for entry in (*self._decoding, *held)
        )

    # -- what becomes of a record

    async def _decode(self, entry: InFlight) -> None:
        self._decoding.add(entry)
        try:
            decoded = await self._intake.decode(entry.record)
        except Poison as poison:
            self._hold(entry, poison)
            return
        finally:
            self._decoding.discard(entry)
        await self._pass(entry, decoded)

    async def _pass(self, entry: InFlight, decoded: Decoded | Skip) -> None:
        """Go on with a record that is no poison; a rebalance may have taken it meanwhile."""
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        if decoded is Skip.TOMBSTONE:
            self._lets_one_in = bool(self._breaker.why)  # it says nothing of decoding: the probe is still to come
        else:
            self._good()
        if isinstance(decoded, Decoded):
            await self._ready(entry, decoded)
        else:
            self._watch.skipped(decoded)
            self._finish(entry, ())

    def _hold(self, entry: InFlight, poison: Poison) -> None:
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        was_open = bool(self._breaker.why)
        self._held[entry] = _Held(poison)
        self._breaker.bad(poison.reason, now_s=self._clock())
        if self._breaker.why and not was_open:
            self._opened()
        if self._breaker.why:
            self._leave_word()
        elif self._is_head(entry):
            self._release(entry, poison)

    def _good(self) -> None:
        was_open = bool(self._breaker.why)
        self._breaker.good()
        if was_open:
            for one in self._held.values():
                one.again = True
            self._closed("a record could be decoded")

    async def _probe(self) -> None:
        oldest = next(iter(self._held), None)
        if oldest is not None:
            self._decoding.add(oldest)
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    decoded = await self._intake.decode(oldest.record)
            except TimeoutError:
                return  # the registry is away: it says neither that the record is bad nor that it is good
            except Poison as poison:
                if oldest in self._held:
                    self._held[oldest].poison = poison
            else:
                self._decoding.discard(oldest)
                if self._forget(oldest):
                    await self._pass(oldest, decoded)
                return
            finally:
                self._decoding.discard(oldest)
        self._lets_one_in = bool(self._breaker.why)

    async def _let_go(self) -> None:
        """Decode what was held once more, and let letters leave that nothing stands before."""
        for entry, one in list(self._held.items()):
            if self._breaker.why:
                return
            if one.again:
                one.again = False
                if self._forget(entry):
                    await self._decode(entry)
            elif self._is_head(entry):
                self._release(entry, one.poison)

    def _drop_void(self) -> None:
        """Hold no more what a rebalance took."""
        self._held = {entry: one for entry, one in self._held.items() if self._flight.holds(entry)}

    def _is_head(self, entry: InFlight) -> bool:
        return self._handover.oldest(entry.record.partition) == entry.record.offset

    def _release(self, entry: InFlight, poison: Poison) -> None:
        if self._forget(entry):
            self._bury(entry, poison)

    def _forget(self, entry: InFlight) -> bool:
        """Hold a record no more; False if it was not held, or is no longer ours."""
        return self._held.pop(entry, None) is not None and self._flight.holds(entry)

    # -- what others are told

    def _opened(self) -> None:
        self._watch.breaker(is_open=True)
        log.error("breaker open: %s; no dead letters leave, and nothing is taken on", self._breaker.why)

    def _closed(self, why: str) -> None:
        self._lets_one_in, self._num_let_in = False, 0
        self._watch.breaker(is_open=False)
        log.warning("breaker closed: %s; %d held records go on", why, len(self._held))
        noted, self._noted = self._noted, set()
        for partition in noted:
            self._remark(partition)

    def _leave_word(self) -> None:
        """Have the next owners of what is held open their breakers."""
        for partition in {entry.record.partition for entry in self._held} - self._noted:
            self._noted.add(partition)
            self._remark(partition)
