"""2 decode: from a record's bytes to an impression that shall be simulated, or the reason why not."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker import codec
from worker.codec import Schema, SchemaRef
from worker.errors import Poison, Retryable
from worker.ports import Schemas
from worker.records import Impression, Record
from worker.sampling import Sampling, Skip, UserBudget

log = logging.getLogger(__name__)

FIRST_WAIT_S, MAX_WAIT_S = 0.5, 10.0  # between two tries to reach the registry


@dataclass(frozen=True, slots=True)
class Decoded:
    """An impression and who wrote it."""

    impression: Impression
    schema: SchemaRef


class Intake:
    """Decodes, validates and samples, one record after the other."""

    def __init__(
        self, schemas: Schemas, sampling: Sampling, user_budget: UserBudget, *, wall: Callable[[], float]
    ) -> None:
        """Take the rules."""
        self._schemas, self._sampling, self._user_budget, self._wall = schemas, sampling, user_budget, wall
        self.held_up = ""  # why nothing can be decoded now

    async def decode(self, record: Record) -> Decoded | Skip:
        """Return the impression, or why it is not simulated.  Raises `Poison` if it can never be."""
        if record.problem:
            raise Poison("headers", record.problem)
        if record.value is None:
            return Skip.TOMBSTONE
        ref, payload = codec.split(record.value, record.headers)
        schema = self._schemas.known(ref) or await self._fetch(ref)
        impression = codec.decode(payload, schema)
        skip = self._sampling.skip(impression, now_s=self._wall())
        if skip is None and not self._is_within_budget(impression):
            skip = Skip.USER_BUDGET
        return skip or Decoded(impression, ref)

    def _is_within_budget(self, impression: Impression) -> bool:
        """Count an event of its user's day; say once that the count has become too small."""
        budget, user_id = self._user_budget, impression.user.user_id
        num_forgotten = budget.num_forgotten
        takes = budget.takes(user_id, impression.event_id, impression.occurred_at)
        if budget.num_forgotten and not num_forgotten:
            log.warning(
                "max_events_per_user_per_day: more users a day than this worker can count; those seen longest ago are"
                " counted anew and may get more events; more workers share the users (metric user_days_forgotten)"
            )
        return takes

    async def _fetch(self, ref: SchemaRef) -> Schema:
        """Ask the registry until it answers: an outage holds records up, it never makes dead letters of them."""
        wait_s = FIRST_WAIT_S
        try:
            while True:
                try:
                    return await self._schemas.fetch(ref)
                except Retryable as error:
                    self.held_up = str(error)
                    log.warning("%s; next try in %.1f s", error, wait_s)
                    await asyncio.sleep(wait_s)
                    wait_s = min(MAX_WAIT_S, 2 * wait_s)
        finally:
            self.held_up = ""
