"""An evaluation for people: lines for the terminal, one HTML file without scripts, and the gate of `--min-skill`.

skill over chance     21.3 % (18.0 to 24.6)
real choice           0.312 (0.301 to 0.323) of the probability; chance is 0.200
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.experiment.page import document, text
from worker.offline.evaluate.figures import GROUPS, FigureValue
from worker.offline.evaluate.run import Difference, Evaluation, JudgedArm

GATED = "skill_uniform"


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure as the report shows it."""

    name: str
    label: str
    words: str
    signed: bool = False  # may be below 0


ROWS = (
    FigureRow(
        "skill_uniform", "skill over chance", "1 - log loss / log loss of equal chances; 0 knows nothing", signed=True
    ),
    FigureRow("skill_position", "skill over position", "the same, over what the position alone tells", signed=True),
    FigureRow("skill_popularity", "skill over popularity", "the same, over what the item alone tells", signed=True),
    FigureRow("probability_of_choice", "probability of the real choice", "mean; equal chances give `chance`"),
    FigureRow("accuracy_top_choice", "top choice is the real one", "the likeliest option; ties share"),
    FigureRow("reciprocal_rank", "mean reciprocal rank", "of the real choice"),
    FigureRow("log_loss", "log loss", "nats; lower is better"),
    FigureRow("brier", "Brier score", "squared error of all options; lower is better"),
    FigureRow("calibration_error", "calibration error", "of the likeliest option, 15 bins; biased upwards"),
    FigureRow("calibration_error_all_options", "calibration error, all options", "15 bins; biased upwards"),
    FigureRow(
        "position_bias", "position bias", "largest gap to the real shares of choices at a position; biased upwards"
    ),
    FigureRow(
        "reference_accuracy", "accuracy of the reference", "a sampled letter is the real choice; long prompts count"
    ),
    FigureRow("entropy_total", "entropy", "bits, of the mean over draws"),
    FigureRow("entropy_within", "entropy within draws", "bits, mean over draws"),
    FigureRow(
        "mutual_information", "mutual information", "bits: how much draws disagree; only at equal draws comparable"
    ),
    FigureRow("letter_mass", "letter mass", "probability of any offered letter before it is made to sum to 1"),
)
IN_GROUPS = ("skill_uniform", "probability_of_choice", "accuracy_top_choice", "reference_accuracy", "log_loss")
KINDS = {
    "domain": "domain", "history_length": "entries in the history", "options": "options",
    "position": "position of the real choice (0 is the first)",
}  # fmt: skip


def lines(found: Evaluation) -> Iterator[str]:
    """Yield the report for a terminal."""
    yield f"{found.source}: {found.choices:,} real choices"
    yield from left_out(found)
    for arm in found.arms:
        if not arm.without:
            yield from _lines_of(arm)
    for one in found.differences:
        figure = told(one.figures[GATED], signed=True) if GATED in one.figures else "no choice in common"
        yield f"{heading(one)}: {figure}"


def left_out(found: Evaluation) -> Iterator[str]:
    """Yield what was not evaluated, with the first mistakes, and what could not be checked."""
    if found.left_out:
        yield "left out: " + ", ".join(f"{count:,} {text.words(why)}" for why, count in found.left_out.items())
    yield from (f"  {one}" for one in found.first_wrong)
    if found.history_not_checked:
        yield f"history has no times, so later entries would not be seen: {found.history_not_checked:,} choices"


def heading(one: Difference) -> str:
    """Return what a difference is of."""
    if one.without:
        return f"skill without {one.without}, minus the whole question"
    return f"skill of {one.name} minus {one.against}"


def about(arm: JudgedArm) -> str:
    """Return who answered."""
    header = arm.header
    profile = f", profile {header['prompt_profile']}" if header["prompt_profile"] else ""
    draws = "1 draw" if header["draws"] == 1 else f"{header['draws']} draws"
    return f"{header['engine']}, model {header['model']}{profile}, {draws}"


def _lines_of(arm: JudgedArm) -> Iterator[str]:
    yield f"{arm.name}: {about(arm)}"
    shown = arm.figures
    unanswered = {status: count for status, count in shown.statuses.items() if status != "OK"}
    if unanswered:
        yield "  not answered: " + ", ".join(f"{count:,} {status}" for status, count in unanswered.items())
    yield f"  answered: {shown.choices:,} choices of {shown.users:,} users; chance is {shown.chance:.3f}"
    for row in ROWS:
        if row.name in shown.figures:
            yield f"  {row.label}: {told(shown.figures[row.name], signed=row.signed)}"


def told(one: FigureValue, *, signed: bool = False) -> str:
    """Write a figure with its interval.

    >>> told(FigureValue(0.2134, 0.18, 0.2461), signed=True), told(FigureValue(0.5, None, None))
    ('+0.213 (+0.180 to +0.246)', '0.500 (no interval: too few users)')
    """
    sign = "+" if signed else ""
    if one.low is None or one.high is None:
        return f"{one.value:{sign}.3f} (no interval: too few users)"
    return f"{one.value:{sign}.3f} ({one.low:{sign}.3f} to {one.high:{sign}.3f})"


def below(found: Evaluation, least: float) -> str:
    """Return why the first engine does not pass the gate, "" if it does."""
    one = found.arms[0].figures.figures.get(GATED)
    if one is None or one.low is None:
        return f"--min-skill {least:g}: not passed: the skill has no interval, {found.choices:,} choices are too few"
    if one.low < least:
        return f"--min-skill {least:g}: not passed: the skill over chance is {told(one, signed=True)}"
    return ""


def html(found: Evaluation) -> str:
    """Return the report as one HTML file; the same evaluation gives the same text."""
    styles = [document.asset("page.css")]
    return (
        _environment()
        .get_template("report.html")
        .render(
            found=found,
            rows=ROWS,
            labels={row.name: row for row in ROWS},
            in_groups=IN_GROUPS,
            kinds={kind: KINDS[kind] for kind in GROUPS},
            styles=styles,
            policy=document.policy(styles, []),
        )
    )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= text.FILTERS
    made.globals |= {"told": told, "heading": heading, "about": about, "left_out": left_out, "best": _best}
    return made


def _best(figures: Mapping[str, FigureValue]) -> str:
    """Return what a report says first, in a sentence."""
    one = figures.get(GATED)
    if one is None or one.low is None or one.high is None:
        return "There are too few users to say whether this simulator knows anything about them."
    if one.low > 0:
        return "This simulator predicts real choices better than chance."
    if one.high < 0:
        return "This simulator predicts real choices worse than chance."
    return "This simulator is not shown to predict real choices better than chance."
