"""Tells once a second which share of the users budgets of tokens pay for; the rules are those of `steering.budgets`."""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from worker.core.steering.budgets import EVERY, Budgets, Period

log = logging.getLogger(__name__)

REPORT_S = 1.0  # between two reports
MAX_TOLD = 20  # lines of one report


class BudgetWatch(Protocol):
    """Who shows budgets."""

    def budgets(self, shares: Mapping[Period, float]) -> None:
        """Set the least share of users that is asked, in any experiment and partition, by period."""


class _State(StrEnum):
    FULL = "pays for all users again"
    PART = "pays for a share of the users, who are the same until the {period} ends"
    SPENT = "is spent: its events are skipped until {end}"


class BudgetReporter:
    """Logs a line when a budget begins or ceases to leave users out, and sets metrics.

    `wall` gives seconds since 1970, `clock` monotonic seconds.
    """

    def __init__(
        self, budgets: Budgets, watch: BudgetWatch, *, wall: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._budgets, self._watch, self._wall, self._clock = budgets, watch, wall, clock
        self._next_s = 0.0
        self._told: dict[tuple[str, Period], _State] = {}

    def tick(self) -> None:
        """Report, if it is time."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + REPORT_S
        found = self._budgets.states(now_s=self._wall())
        shares = dict.fromkeys(Period, 1.0)
        for (_, period), share in found.items():
            shares[period] = min(shares[period], share)
        self._watch.budgets(shares)
        states = {of: _state(share) for of, share in found.items()}
        changed = [of for of in states | self._told if states.get(of) is not self._told.get(of, _State.FULL)]
        for scope, period in sorted(changed)[:MAX_TOLD]:
            log.info("%s", _line(scope, period, states.get((scope, period), _State.FULL), found.get((scope, period))))
        if len(changed) > MAX_TOLD:
            log.info("and %d budgets more have changed", len(changed) - MAX_TOLD)
        self._told = {of: state for of, state in states.items() if state is not _State.FULL}


def _state(share: float) -> _State:
    if share >= 1.0:
        return _State.FULL
    return _State.PART if share else _State.SPENT


def _line(scope: str, period: Period, state: _State, share: float | None) -> str:
    """Return a line of the log: whose budget it is, and what becomes of users."""
    whose = "all experiments" if scope == EVERY else f"experiment {scope}"
    end = "the budget is raised" if period is Period.TOTAL else f"the {period} ends"
    told = state.format(period=period, end=end)
    least = f" ({share:.0%} in the partition with the least)" if state is _State.PART and share is not None else ""
    return f"{whose}: the {period} budget of tokens {told}{least}"
