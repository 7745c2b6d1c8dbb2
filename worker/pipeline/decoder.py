"""2 decode: from a record's bytes to an impression that shall be simulated, or the reason why not."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker.core.codec import framing, impression as codec
from worker.core.codec.framing import SchemaRef
from worker.core.codec.input_forms import AvroInput, InputForm, WriterSchema
from worker.core.errors import Poison, Retryable
from worker.core.joining.join import NOTHING_LATER, Later
from worker.core.records import Headers, Impression, Reason, Record
from worker.core.simulation.sampling import Skip, UserBudget
from worker.core.steering.steering import Admission, QuestionPlan
from worker.pipeline.ports import WriterSchemas

log = logging.getLogger(__name__)

FIRST_WAIT_S, MAX_WAIT_S = 0.5, 10.0  # between two tries to reach the registry
TRIES_A_LINE = 10  # one log line in so many tries of one schema
MAX_FETCHES = 8  # schemas that are asked for at once: a flood of unknown ids must not become one on the registry


@dataclass(frozen=True, slots=True)
class Decoded:
    """An impression, who wrote it, and how it is asked; plain JSON and plain Protobuf have no schema.

    `later` says what of it was joined from facts that are newer than the event.
    """

    impression: Impression
    schema: SchemaRef | None
    plan: QuestionPlan
    later: Later = NOTHING_LATER


class Decoder:
    """Decodes, validates and samples, one record at a time.

    `form` is the format of the input, Avro by default.  `joins_items`: an option may be an id, which `pipeline.joins`
    looks up.  `wall` gives seconds since 1970, for the age of events.  `outages` has the schemas whose last fetch
    failed, and why.
    """

    def __init__(
        self,
        schemas: WriterSchemas,
        admission: Admission,
        user_budget: UserBudget,
        *,
        form: InputForm | None = None,
        joins_items: bool = False,
        wall: Callable[[], float],
    ) -> None:
        self._form: InputForm = form or AvroInput()
        self._joins_items = joins_items
        self._schemas, self._admission, self._user_budget, self._wall = schemas, admission, user_budget, wall
        self._fetching = asyncio.Semaphore(MAX_FETCHES)
        self.outages: dict[SchemaRef, str] = {}

    def missing(self, record: Record) -> SchemaRef | None:
        """Return the writer schema to fetch before a record can be decoded; None if nothing must be fetched."""
        ref = self._needed(record)
        return ref if ref is not None and self._schemas.known(ref) is None else None

    def _needed(self, record: Record) -> SchemaRef | None:
        if record.problem or record.value is None:
            return None
        return self._form.schema_of(record.value, record.headers)

    async def fetch(self, ref: SchemaRef) -> WriterSchema:
        """Return a schema, asking the registry until it answers: an outage delays records and dead-letters none.

        Raises `Poison` if the registry has no such schema, or the schema is refused.
        """
        wait_s, tries = FIRST_WAIT_S, 0
        try:
            while True:
                try:
                    async with self._fetching:
                        return await self._schemas.fetch(ref)
                except Retryable as error:
                    self.outages[ref] = str(error)
                    if tries % TRIES_A_LINE == 0:
                        log.warning("writer schema %s %s: %s; next try in %.1f s", ref.kind, ref.value, error, wait_s)
                    tries += 1
                    await asyncio.sleep(wait_s)
                    wait_s = min(MAX_WAIT_S, 2 * wait_s)
        finally:
            self.outages.pop(ref, None)

    async def decode(self, record: Record, schema: WriterSchema | None = None) -> Decoded | Skip:
        """Return a record's impression, or why it is not simulated.

        `schema` is its writer's if that was just fetched, else None.  Raises `Poison` with the place of the
        problem if the record can never be decoded.
        """
        if record.unreadable_from is not None:
            raise Poison(Reason.UNREADABLE, record.problem)
        if record.problem:
            raise Poison(Reason.HEADERS, record.problem)
        if record.value is None:
            return Skip.TOMBSTONE
        ref, impression = await self._read(record, record.value, schema)
        if impression is None:
            return Skip.UNMAPPED
        admitted = self._admission.admit(impression, record.partition, now_s=self._wall())
        if isinstance(admitted, Skip):
            return admitted
        return Decoded(impression, ref, admitted) if self._is_within_budget(impression) else Skip.USER_BUDGET

    async def _read(
        self, record: Record, value: bytes, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        needed = self._needed(record) if schema is None else None
        if needed is not None:
            schema = self._schemas.known(needed) or await self.fetch(needed)
        return self._whole(value, record.headers, schema)

    def _whole(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Return an impression; one with ids alone, too, where items are joined.  Raises `Poison`."""
        try:
            return self._form.read(value, headers, schema)
        except Poison as poison:
            found = codec.ids_only(poison) if self._joins_items else None
            if found is None:
                raise
            return self._form.schema_of(value, headers), found

    def _is_within_budget(self, impression: Impression) -> bool:
        """Count an event of its user's day; log once that more users came than can be counted."""
        budget, user_id = self._user_budget, impression.user.user_id
        num_forgotten = budget.num_forgotten
        takes = budget.takes(user_id, impression.event_id, impression.occurred_at)
        if budget.num_forgotten and not num_forgotten:
            log.warning(
                "max_events_per_user_per_day: more users a day than this worker can count; those seen longest ago are"
                " counted anew and may get more events; more workers share the users (metric user_days_forgotten)"
            )
        return takes


def writer(record: Record) -> str:
    """Return who wrote a record, as far as it says so: the kind and value of its schema's reference."""
    ref = _ref(record)
    return f"{ref.kind} {ref.value}" if ref is not None else "without a schema"


def _ref(record: Record) -> SchemaRef | None:
    if record.problem or record.value is None:
        return None
    try:
        return framing.split(record.value, record.headers)[0]
    except Poison:
        return None
