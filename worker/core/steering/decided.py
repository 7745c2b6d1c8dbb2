"""Whether asking has ended: the readout has given every candidate a final verdict, and has not taken it back.

    readouts       keep running   candidate preferred   keep running   keep running   candidate preferred
    asking         goes on        ends                  stays ended    goes on        ends

The interval is valid at every look, so the first final verdict ends asking.  Late events and those of calibrating users
move it a little afterwards: one readout without a verdict is not believed, the second is (hysteresis), and one that
must not be trusted at once.  A reader that is away says nothing, so nothing changes.  A verdict holds for the
configuration and the definition that it is about, and for no other.

The order of the topic counts, not the readers' clocks: a verdict of a clock that was ahead could never be taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from worker.core.errors import BadSettings
from worker.core.records import Id, at_most
from worker.core.validation_text import all_told

FINAL = frozenset({"CANDIDATE_PREFERRED", "CONTROL_PREFERRED", "NO_DIFFERENCE"})
NEVER_TRUSTED = "DO_NOT_TRUST"
MAX_JUDGED = 1_000  # candidates of one readout, those of responses without a definition included
DOUBTS = 2  # successive readouts without a final verdict after which asking goes on


@dataclass(frozen=True, slots=True)
class _Judged:
    candidate: Id
    verdict: str


@dataclass(frozen=True, slots=True)
class LastReadout:
    """What a worker reads of an `ExperimentReadout`; the time in microseconds."""

    experiment_id: Id
    config_fingerprint: str
    produced_at: int
    exploratory: bool = True
    candidates: Annotated[tuple[_Judged, ...], Field(max_length=MAX_JUDGED), at_most(MAX_JUDGED)] = ()
    definition_digest: str = ""

    @property
    def is_final(self) -> bool:
        """Whether every candidate has a verdict that ends an experiment, and it was defined before its data."""
        return bool(self.candidates) and not self.exploratory and all(one.verdict in FINAL for one in self.candidates)

    @property
    def is_distrusted(self) -> bool:
        """Whether it says of a candidate that its figures must not be trusted."""
        return any(one.verdict == NEVER_TRUSTED for one in self.candidates)


_READOUT: TypeAdapter[LastReadout] = TypeAdapter(LastReadout)


def read_readout(record: Mapping[str, object]) -> LastReadout:
    """Parse an `ExperimentReadout` as Avro decodes it.  Raises `BadSettings` with what is wrong."""
    try:
        return _READOUT.validate_python(dict(record))
    except ValidationError as error:
        raise BadSettings(all_told([dict(one) for one in error.errors()])) from error


@dataclass(frozen=True, slots=True)
class Decided:
    """The last word of the readout on one experiment; `readout` is the last that was final, if `has_ended`."""

    readout: LastReadout
    has_ended: bool
    heard_at: int  # `produced_at` of the last readout
    doubts: int = 0  # readouts since the final one that were not

    def holds(self, *, config_fingerprint: str, definition_digest: str, candidates: tuple[str, ...]) -> bool:
        """Return whether asking has ended for this configuration and this definition."""
        about = (self.readout.config_fingerprint, self.readout.definition_digest)
        return (
            self.has_ended
            and about == (config_fingerprint, definition_digest)
            and {one.candidate for one in self.readout.candidates} >= set(candidates)
        )


def heard(before: Decided | None, readout: LastReadout) -> Decided:
    """Return what holds after one more readout; the same one again, as a producer may repeat it, changes nothing."""
    at = readout.produced_at
    if before is not None and at == before.heard_at:
        return before
    if readout.is_final:
        return Decided(readout, has_ended=True, heard_at=at)
    same = before is not None and (before.readout.config_fingerprint, before.readout.definition_digest) == (
        readout.config_fingerprint, readout.definition_digest,
    )  # fmt: skip
    if before is None or not before.has_ended or not same or readout.is_distrusted:
        return Decided(readout, has_ended=False, heard_at=at)
    doubts = before.doubts + 1
    return replace(before, has_ended=doubts < DOUBTS, heard_at=at, doubts=doubts)
