"""Does the simulation know anything about real clicks?  The calibration on control's slates, as a check of a verdict.

    no outcomes, or too few clicks            OPEN     the sentence of a preference says that the skill is unknown
    few users have most of the clicks         OPEN     it says that
    not shown to be above chance              OPEN     it says that
    shown to be below chance                  FAILED   no preference: its answers have little to do with the users
    shown to be above chance                  OK

Skill is 1 - log loss / log loss of equal chances.  The interval of the calibration holds at one look; who watches would
see it beside 0 by accident.  So either asks for `WATCHED` standard errors, what the confidence sequence takes where it
is narrowest.
"""

from worker.experiment.readout import Agreement, Calibrated, Check, CheckState
from worker.experiment.real_clicks.calibration import Z
from worker.experiment.statistics.confidence import half_width

NAME = "skill on real clicks"
SKILL = "skill_uniform"  # the figure of the calibration that decides
MIN_CLICKS = 200  # slates with a click, over both halves: the normal interval of fewer is too narrow
UNKNOWN = "skill at predicting real clicks is unknown"
WATCHED = half_width(1_000, 1_000**0.5, alpha=0.05, planned_users=1_000)  # 3.03 standard errors, at every look


def skill(found: Calibrated | None, *, has_outcomes: bool) -> Check:
    """Return what the calibration of an epoch says; None is one without a shown control slate to compare."""
    if found is None or not has_outcomes:
        why = "no outcomes were read" if not has_outcomes else "no outcome is of a control slate that was asked about"
        return _unknown(why)
    figure = next((one for one in found.figures if one.name == SKILL), None)
    if figure is None and found.clicks >= MIN_CLICKS:
        return _unknown(found.words)
    if figure is None or figure.low is None or figure.high is None or found.clicks < MIN_CLICKS:
        waiting = f"; {found.pending:,} slates wait until their outcome window is over" if found.pending else ""
        wanted = f"at least {MIN_CLICKS} needed{waiting}"
        return _unknown(f"too few clicks yet: {found.clicks:,} slates with a click, {wanted}")
    return _judged(figure, figure.low, figure.high)


def _unknown(why: str) -> Check:
    return Check(NAME, CheckState.OPEN, f"unknown: {why}", qualifies=f"{UNKNOWN}: {why}")


def _judged(figure: Agreement, low: float, high: float) -> Check:
    told = f"1 - log loss / log loss of equal chances is {figure.value:+.2f} ({low:+.2f} to {high:+.2f} at one look)"
    figures = {"skill": figure.value, "low": low, "high": high}
    wider = WATCHED / Z
    if figure.value + wider * (high - figure.value) < 0:
        words = f"simulated users predict real clicks worse than chance: {told}"
        return Check(NAME, CheckState.FAILED, words, figures)
    if figure.value - wider * (figure.value - low) > 0:
        return Check(NAME, CheckState.OK, f"simulated users predict real clicks better than chance: {told}", figures)
    words = "simulated users are not shown to predict real clicks better than chance"
    return Check(NAME, CheckState.OPEN, f"{words}: {told}", figures, qualifies=words)
