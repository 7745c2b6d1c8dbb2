"""Which questions of an event are asked: duels, slates, or both, and the slates of which share of the users.

    questions: duels        the duel of each candidate; control's slate of `calibration_share` of the users
    questions: slates       every variant's slate, no duel
    questions: both         all of them; slates of `slate_share` of the users, control's of `calibration_share` at least

A user is in both shares by one hash, so the smaller share is part of the larger one.  What is not asked is answered
with the status NOT_ASKED: readers still learn which slates there were and which one was shown.

>>> QuestionSet.needed_by(["duel_share"]), QuestionSet.needed_by(["duel_share", "entropy"])
(<QuestionSet.DUELS: 'duels'>, <QuestionSet.BOTH: 'both'>)
>>> WantedQuestions(QuestionSet.DUELS).name, WantedQuestions(slate_share=0.2).name, WantedQuestions().name
('DUEL', 'SLATE 0.2+DUEL', 'SLATE+DUEL')
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from worker.core.seeding import unit

DUEL_SHARE = "duel_share"  # the one metric of a DUEL; every other is of the SLATEs of both variants


class QuestionSet(StrEnum):
    """Which kinds of questions are asked."""

    DUELS = "duels"
    SLATES = "slates"
    BOTH = "both"

    @staticmethod
    def needed_by(metrics: Iterable[str]) -> "QuestionSet":
        """Return the least set that measures these metrics."""
        of_duels = {metric == DUEL_SHARE for metric in metrics}
        if of_duels == {True}:
            return QuestionSet.DUELS
        return QuestionSet.SLATES if of_duels == {False} else QuestionSet.BOTH


@dataclass(frozen=True, slots=True)
class UserShare:
    """What one user is asked; the shares are those of the simulated users who are asked the same."""

    duels: bool
    slates: bool
    calibrating: bool  # control's slate, whatever else
    slate_share: float
    calibration_share: float


@dataclass(frozen=True, slots=True)
class WantedQuestions:
    """Which questions are asked, of which share of the simulated users, each in [0, 1]."""

    questions: QuestionSet = QuestionSet.BOTH
    slate_share: float = 1.0
    calibration_share: float = 1.0  # of control's slate: asked also where no slate differs, or none is asked

    @property
    def name(self) -> str:
        """What must be equal for answers to be pooled, as the fingerprint holds it; `calibration_share` need not be."""
        part = "" if self.slate_share == 1 else f" {self.slate_share!r}"
        return {
            QuestionSet.DUELS: "DUEL",
            QuestionSet.SLATES: f"SLATE{part}",
            QuestionSet.BOTH: f"SLATE{part}+DUEL",
        }[self.questions]

    def of(self, user_id: str) -> UserShare:
        """Return what a user is asked, by a hash, so that every worker decides alike."""
        at, share = unit("calibration", user_id), self.slate_share
        if self.questions is QuestionSet.DUELS:
            share = 0.0
        return UserShare(
            duels=self.questions is not QuestionSet.SLATES,
            slates=at < share,
            calibrating=at < self.calibration_share,
            slate_share=share,
            calibration_share=self.calibration_share,
        )


ALL_QUESTIONS = WantedQuestions()
EVERYTHING = ALL_QUESTIONS.of("")
