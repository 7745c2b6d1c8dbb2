"""What was asked of a comparison's users, from the sums by user of what was not (`store.pairs`).

    not_asked_slates   user 7: 12 events      user 7 is outside the `slate_share`
    reciprocal_rank    user 3: 9 events       user 3 is inside, and stands for 1 / share of all users

Whole users are chosen by a hash, so the users inside are a random sample of all of them: the mean over them is the
mean over all, weighted by 1 / share, and a figure of a question that nobody was asked is not identified.

That is so for slates and for whole users alone.  What was not asked beside that is missing (`store.series`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.statistics.user_means import Users
from worker.experiment.store.pairs import not_asked

ByMetric = Mapping[tuple[str, str], Users]  # by (metric, segment); segment "" is all users


@dataclass(frozen=True, slots=True)
class AskedUsers:
    """The users who were asked what one metric needs, and those who were not, by their numbers in the state."""

    metric: str
    inside: frozenset[int]
    outside: frozenset[int]

    @classmethod
    def of(cls, metric: str, users: ByMetric) -> "AskedUsers":
        """Look at one metric of a comparison, whose `users` have what is missing, too."""
        found = users.get((metric, ""))
        unasked = users.get((not_asked(metric), ""))
        inside = frozenset(found.everyone.tolist()) if found else frozenset()
        return cls(metric, inside, frozenset(unasked.ids.tolist() if unasked else ()) - inside)

    @property
    def share(self) -> float:
        """The share of the users who were asked, of those of whom it is known."""
        known = len(self.inside) + len(self.outside)
        return len(self.inside) / known if known else 1.0

    @property
    def why_not(self) -> str:
        """Why there is no figure, if nobody was asked; "" if somebody was, or nothing is known."""
        if self.inside or not self.outside:
            return ""
        kind = "duels" if self.metric == DUEL_SHARE else "slates"
        return f"{kind} were not asked (`questions` of the definition or the worker); it needs {self.needs}"

    @property
    def needs(self) -> str:
        """What would measure it."""
        return METRICS[self.metric].needs

    @property
    def note(self) -> str:
        """What to say beside a figure of a share of the users; "" of all."""
        if not self.inside or not self.outside:
            return ""
        asked, known = len(self.inside), len(self.inside) + len(self.outside)
        return f"asked of {asked:,} of {known:,} users, chosen by a hash: each stands for {known / asked:.3g}"

    def among(self, absent: Mapping[int, float]) -> dict[int, float]:
        """Return the pairs by user that were never made, without those of users who were not to be asked."""
        return {user: number for user, number in absent.items() if user not in self.outside}
