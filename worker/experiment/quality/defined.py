"""Was the experiment defined before its data?  A fact about two times, as a check of a verdict.

    Kafka got the definition    the first event that it counts
    12:00                       12:01                            OK
    12:00                       11:59                            FAILED: whoever wrote it may have seen the data
    -                           any                              OPEN: no definition, or its time is not known

It forbids nothing: an exploratory figure is a figure.  But the sentence of a preference says what it is.
"""

from dataclasses import dataclass

from worker.experiment.definition import Definition
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import BASIS, DEFINED

NAME = "defined before the data"
_UNITS = (("days", 86_400_000_000), ("hours", 3_600_000_000), ("minutes", 60_000_000), ("seconds", 1_000_000))


@dataclass(frozen=True, slots=True)
class Stated:
    """Which form of a definition an epoch has, and the two times in microseconds."""

    form: Definition | None
    taken_at: int | None  # None: by a version that did not keep it
    first_at: int  # of the first event that is counted

    @property
    def exploratory(self) -> str:
        """Why the readout is exploratory, "" if it is not."""
        if self.form is None:
            return "no definition"
        if self.taken_at is None:
            return "it is not known when the definition was recorded"
        if self.taken_at <= self.first_at:
            return ""
        since = self.form.revised_at
        late = f"the definition was recorded {_ago(self.taken_at - self.first_at)} after the first event that it counts"
        return f"{late}, as its revised_at lies in the past" if since is not None and since < self.taken_at else late

    @property
    def basis(self) -> str:
        """What stands beside the estimand."""
        if self.form is None:
            return BASIS
        return f"exploratory ({self.exploratory})" if self.exploratory else DEFINED


def defined(stated: Stated) -> Check:
    """Return the check of an epoch."""
    why = stated.exploratory
    if not why:
        return Check(
            NAME, CheckState.OK, "the definition was recorded before the first event that it counts", forbids=False
        )
    known = stated.form is not None and stated.taken_at is not None
    state = CheckState.FAILED if known else CheckState.OPEN
    return Check(NAME, state, f"exploratory: {why}", forbids=False, qualifies=f"exploratory: {why}")


def _ago(us: int) -> str:
    """Write a duration in its largest unit.

    >>> _ago(7_200_000_000), _ago(90_000_000), _ago(5)
    ('2 hours', '90 seconds', 'a moment')
    """
    for name, size in _UNITS:
        if us >= 2 * size:
            return f"{us // size:,} {name}"
    return "a moment"
