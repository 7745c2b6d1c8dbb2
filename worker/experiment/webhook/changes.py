"""Which verdicts differ from what was told last, and how that is said.

    told before      verdict now             is told
    nothing          KEEP_RUNNING            nothing: every candidate begins with it
    nothing          CANDIDATE_PREFERRED     null -> CANDIDATE_PREFERRED
    KEEP_RUNNING     NO_DIFFERENCE           KEEP_RUNNING -> NO_DIFFERENCE

Only the current epoch counts.  A change that is undone before it is told is not told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from worker.experiment.page.text import visible
from worker.experiment.readout import Comparison, Readout, Report
from worker.experiment.statistics.confidence import Verdict

_MARKUP = str.maketrans("<>[]@", "\u2039\u203a\uff3b\uff3d\uff20")  # look-alikes, which no chat obeys


class Judged(NamedTuple):
    """What a verdict is on."""

    experiment_id: str
    candidate: str
    control: str


@dataclass(frozen=True, slots=True)
class Told:
    """The verdict that was told last."""

    verdict: str
    number: int  # how many were told of this candidate, this one included


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that is not told yet."""

    of: Judged
    old: str | None  # None: none was told before
    new: Verdict
    number: int
    reason: str
    as_of: int  # newest event, microseconds
    config_fingerprint: str
    definition_key: str
    backtest: str = ""  # what stands beside every verdict, if one is kept

    @property
    def id(self) -> str:
        """The same for every attempt to tell this change, also after a restart."""
        return str(uuid5(NAMESPACE_URL, "\n".join((*self.of, str(self.number), self.new.value))))

    def body(self, *, at: str) -> dict[str, object]:
        """Return the JSON that is posted; `at` is when the reader noticed it."""
        return {
            "id": self.id,
            "experiment": self.of.experiment_id,
            "candidate": self.of.candidate,
            "control": self.of.control,
            "old_verdict": self.old,
            "new_verdict": self.new.value,
            "reason": self.reason,
            "text": _plain(f"{self.of.experiment_id}, {self.of.candidate}: {self.new.words} ({self.reason})"),
            "at": at,
            "as_of": self.as_of,
            "config_fingerprint": self.config_fingerprint,
            "definition_key": self.definition_key,
            "backtest": self.backtest,
        }


def _plain(text: str) -> str:
    r"""Return a text that a chat shows as it is; the other fields have the names as they are.

    Chats show a field `text`.  A name of an experiment comes from outside, and Slack's `<!channel>` calls everybody,
    as `@all` does elsewhere; `<https://...|text>` and `[text](https://...)` are links that look like something else.

    >>> ascii(_plain("<!all>@here"))
    "'\\u2039!all\\u203a\\uff20here'"
    """
    return visible(text.translate(_MARKUP))


def changes(report: Report, told: Mapping[Judged, Told]) -> Iterator[Change]:
    """Yield each verdict that differs from the one that was told last; experiments without an id are left out."""
    for readout in report.readouts:
        for one in readout.current.comparisons if readout.experiment_id else ():
            key = Judged(readout.experiment_id or "", one.candidate, one.control)
            before = told.get(key)
            if one.verdict.value != (before.verdict if before else Verdict.KEEP_RUNNING.value):
                yield _change(key, before, one, readout)


def _change(key: Judged, before: Told | None, one: Comparison, readout: Readout) -> Change:
    return Change(
        of=key,
        old=before.verdict if before else None,
        new=one.verdict,
        number=before.number + 1 if before else 1,
        reason=one.reason,
        as_of=readout.current.last_occurred_at,
        config_fingerprint=readout.current.config_fingerprint,
        definition_key=readout.current.definition_key,
        backtest=readout.current.backtest.sentence if readout.current.backtest else "",
    )
