"""Reports for tests of the page: figures as `assembly` would make them, and text that no page should obey."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.experiment import wording
from worker.experiment.definition import Definition, Guardrail
from worker.experiment.readout import (
    ActivityGroup,
    Agreement,
    Calibrated,
    Check,
    CheckState,
    Comparison,
    Effect,
    Epoch,
    Example,
    FactorShare,
    Guarded,
    GuardrailState,
    KeptBacktest,
    List,
    Offered,
    OutlyingItem,
    Point,
    Readout,
    Report,
    Segment,
    Where,
)
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.confidence import Estimate, Interval, Verdict

AT_US = 1_793_491_200_000_000  # 2026-11-01
HOUR_US = 3_600_000_000
HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "\u202egnp.exe\u2066 turned round\x00\x1b[31m",
    "W" * 400,
    "{{ 7 * 7 }} {% raw %} '\"><b>bold</b> & &amp;",
)


@dataclass(slots=True)
class Changing:
    """A source whose report a test replaces."""

    now: Report
    number: int = 1

    def report(self) -> Report:
        """Return the report of now."""
        return self.now

    def version(self) -> int:
        """Return the number of changes."""
        return self.number

    def change(self, report: Report) -> None:
        """Replace the report."""
        self.now = report
        self.number += 1


def estimate(value: float, users: int = 3_120, *, half: float = 0.018) -> Estimate:
    """Make an estimate with a symmetric interval."""
    return Estimate(users, value, Interval(value - half, value + half), sd=0.4)


def timeline(value: float, *, users: int = 3_120, points: int = 72) -> tuple[Point, ...]:
    """Make an hourly timeline that settles on the value; there is no interval before 100 users."""
    made = []
    for hour in range(1, points + 1):
        seen = users * hour // points
        around = value + 0.06 / hour * (-1) ** (hour // 3)
        half = 0.018 * (users / seen) ** 0.5
        known = seen >= stats.MIN_USERS
        low, high = (around - half, around + half) if known else (None, None)
        made.append(Point(AT_US + hour * HOUR_US, seen, around, low, high))
    return (*made[:-1], replace(made[-1], value=value, low=value - 0.018, high=value + 0.018))


def example(number: int, share: float, *, rationales: Sequence[str] = ()) -> Example:
    """Make a duel of three items alone on each side and one that both offer."""
    both = min(0.1, share, 1 - share)
    won, lost = share - both / 2, 1 - both / 2 - share
    options = [
        *(Offered(f"a-{number}-{i}", i, ("control",), lost * part) for i, part in enumerate((0.6, 0.3, 0.1))),
        *(
            Offered(f"b-{number}-{i}", i + 1, ("candidate",), won * part, f"Film {number}.{i}", "drama|War", "Studio B")
            for i, part in enumerate((0.7, 0.2, 0.1))
        ),
        Offered("both-1", 3, ("control", "candidate"), both),
    ]
    said = tuple(rationales) or (
        "The slow-burn drama fits an evening of thrillers.\nThe others repeat what was seen last week.",
        "A new title by a director this user rated highly twice.",
    )
    return Example(f"event-{number}", AT_US + number * HOUR_US, f"user-{97 * number % 50}", share, tuple(options), said)


def items() -> tuple[Where, ...]:
    """Make items that one list alone offers, with titles and one without."""
    rows = (("b-1-0", "Silent Harbour (1994)", List.B, 0.0121), ("a-1-0", "Iron Road (2001)", List.A, 0.0083),
            ("b-2-0", "The Long Winter (1987)", List.B, -0.0042), ("a-2-1", "", List.A, -0.0017))  # fmt: skip
    return tuple(
        Where(name, side, 900 - 100 * place, 0.2 + 4 * points, 0.2, estimate(4 * points, 640, half=0.02), points,
              notable=place < 2, title=title)
        for place, (name, title, side, points) in enumerate(rows)
    )  # fmt: skip


def groups(*names: str) -> tuple[Where, ...]:
    """Make categories or providers, the first in list B, the second in list A and so on."""
    return tuple(
        Where(name, (List.B, List.A)[place % 2], 900 - 100 * place, 0.25, 0.2, estimate(0.05, 640, half=0.02),
              0.013 - 0.004 * place, notable=not place)
        for place, name in enumerate(names)
    )  # fmt: skip


def comparison(value: float = 0.534, **changes: object) -> Comparison:
    """Make a comparison that B wins, with something in every place."""
    overall = estimate(value)
    base = Comparison(
        candidate="candidate",
        control="control",
        verdict=Verdict.CANDIDATE_PREFERRED,
        reason="the whole interval is above 50 %",
        events=18_400,
        statuses={"OK": 14_210, "SAME_SET": 2_400, "IDENTICAL": 1_680, "TIMEOUT": 70, "LENGTH": 40},
        effects=(
            Effect("duel_share", 0.5, overall, estimate(0.541, 2_514, half=0.022), 0.0021),
            Effect("reciprocal_rank", 0.0, estimate(0.012, half=0.021), estimate(0.015, 2_514, half=0.026)),
            Effect(
                "entropy",
                0.0,
                estimate(-0.031, half=0.04),
                Estimate(40, -0.04, None, "40 users so far, at least 100 needed"),
            ),
            Effect(
                "click_probability",
                0.0,
                estimate(0.021, half=0.011),
                estimate(0.021, half=0.011),
                estimand="doubly-robust",
                note="effective sample size: 1,804 events where the policies differ",
                control_value=0.158,
            ),
        ),
        trigger_share=2_514 / 3_120,
        contested_mass=0.712,
        missing=110,
        missing_share=110 / 18_400,
        worst_case=Interval(0.531, 0.537),
        overlap=0.312,
        rank_correlation=-0.25,
        noise="asking all questions again would change one event's result by about 8.1 points",
        guardrails=(
            Guarded(
                "entropy", 0.1, GuardrailState.OK, "entropy, candidate - control: -0.071 to 0.009; must stay above -0.1"
            ),
            Guarded(
                "reciprocal_rank",
                0.005,
                GuardrailState.OPEN,
                "reciprocal_rank, candidate - control: -0.009 to 0.033; must stay above -0.005",
            ),
        ),
        checks=(
            Check("pair completeness", CheckState.OK, "110 of 18,400 pairs have no answer (0.6%; limit 1%)"),
            Check("flips when reversed", CheckState.OPEN, "not measured yet"),
            Check(
                "position profile",
                CheckState.FAILED,
                "of 3 options, the one listed last gets 44 % of the choices; 33 % would be fair",
                {"3 options, slot 1": 0.27, "3 options, slot 2": 0.29, "3 options, slot 3": 0.44, "e_value": 8_100.0},
                forbids=False,
            ),
        ),
        timeline=timeline(value),
        segments=(
            Segment("country", "DE", estimate(0.552, 900, half=0.03), notable=True),
            Segment("country", "FR", estimate(0.521, 1_100, half=0.028), notable=False),
            Segment("device", "phone", estimate(0.518, 2_050, half=0.021), notable=False),
            Segment("device", "tv", Estimate(61, 0.49, None, "61 users so far, at least 100 needed"), notable=False),
        ),
        items=items(),
        positions=tuple(
            Where(str(place), side, 4_000, 0.2, 0.2, estimate(0.004, half=0.006), 0.001, notable=False)
            for place in (1, 2, 3)
            for side in List
        ),
        categories=groups("Drama", "Crime", "(none)"),
        providers=groups("Studio B", "Studio A"),
        reasons=(
            FactorShare("topic", 0.61, 0.68),
            FactorShare("novelty", 0.22, 0.35, notable=True),
            FactorShare("popularity", 0.48, 0.29),
            FactorShare("price", 0.08, 0.07),
        ),
        wins=tuple(example(number, 0.95 - 0.01 * number) for number in range(1, 7)),
        losses=tuple(example(number, 0.02 + 0.01 * (number - 10)) for number in range(10, 16)),
        basis=stats.DEFINED,
        activity=(
            ActivityGroup("light", 1, 2, estimate(0.522, 1_040, half=0.044), 0.4),
            ActivityGroup("medium", 3, 6, estimate(0.533, 1_040, half=0.044), 0.4),
            ActivityGroup("heavy", 7, 212, estimate(0.562, 1_040, half=0.044), 0.4, notable=True),
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def epoch(*comparisons: Comparison, fingerprint: str = "3f9a1c0b77de", hour: int = 72) -> Epoch:
    """Make an epoch that ends at this hour."""
    return Epoch(fingerprint, "9c41d2aa07be", AT_US, AT_US + hour * HOUR_US, 55_200, 36_800, comparisons, calibrated())


def kept(fingerprint: str = "3f9a1c0b77de", **changes: object) -> KeptBacktest:
    """Make a backtest that passed, with the sentence that stands beside verdicts of the epoch above."""
    base = KeptBacktest(AT_US, fingerprint, "duel_share", 50, 47, 33, 0.56, 0.81, True, "larger went with larger")
    changed = replace(base, **changes)  # type: ignore[arg-type]
    return replace(changed, sentence=wording.backtested(changed, "3f9a1c0b77de"))


def calibrated(skill: float = 0.21) -> Calibrated:
    """Make figures of a simulator that knows something about clicks."""
    figures = (Agreement("log_loss", 1.62, 1.58, 1.66), Agreement("skill_uniform", skill, skill - 0.02, skill + 0.02),
               Agreement("skill_position", skill - 0.1, skill - 0.12, skill - 0.08),
               Agreement("skill_popularity", skill - 0.25, skill - 0.27, skill - 0.23),
               Agreement("accuracy_at_1", 0.34, 0.32, 0.36), Agreement("ece_top1", 0.041, None, None))  # fmt: skip
    return Calibrated(18_400, 310, 2_904, figures, "simulated users predict clicks better than chance")


def readout(experiment_id: str | None = "home-ranker-7", *epochs: Epoch, **changes: object) -> Readout:
    """Make an experiment; one epoch in which B wins, unless told otherwise."""
    definition = Definition(
        experiment_id="home-ranker-7",
        start=AT_US,
        control="control",
        candidates=("candidate",),
        margin=0.01,
        guardrails=(Guardrail("entropy", 0.1),),
    )
    base = Readout(experiment_id, 0.05, 5_000, epochs or (epoch(comparison()),), definition)
    return replace(base, **changes)  # type: ignore[arg-type]


def report(*readouts: Readout) -> Report:
    """Make a report."""
    health = {"read": 55_321, "counted": 55_200, "repeated": 87, "test": 30, "bad_value": 4}
    return Report(readouts or (readout(),), health)


def waiting() -> Comparison:
    """Make a comparison that has just begun."""
    few = Estimate(
        40, 0.56, None, "40 users so far, at least 100 needed; 12 users whose lists differ so far, at least 50 needed"
    )
    effects = (Effect("duel_share", 0.5, few, Estimate(12, 0.62, None, "12 users so far, at least 100 needed")),)
    return comparison(
        verdict=Verdict.KEEP_RUNNING, reason=few.withheld, effects=effects, trigger_share=0.3, events=52,
        statuses={"OK": 15, "IDENTICAL": 37}, missing=0, missing_share=0.0, worst_case=None, guardrails=(), checks=(),
        timeline=(Point(AT_US + HOUR_US, 40, 0.56, None, None),), segments=(), items=(), positions=(),
        categories=(), providers=(),
        activity=(ActivityGroup("all", 1, 1, few, 0.3),),
        reasons=(), wins=(), losses=(),
        contested_mass=None, basis=stats.BASIS,
    )  # fmt: skip


def untrusted() -> Comparison:
    """Make a comparison whose check failed."""
    failed = Check("pair completeness", CheckState.FAILED, "1,610 of 18,400 pairs have no answer (8.8%; limit 1%)")
    return comparison(
        verdict=Verdict.DO_NOT_TRUST, reason=f"{failed.name}: {failed.words}", checks=(failed,), missing=1_610,
        missing_share=1_610 / 18_400,
    )  # fmt: skip


def losing() -> Comparison:
    """Make a comparison that A wins."""
    return comparison(
        0.462, verdict=Verdict.CONTROL_PREFERRED, reason="the whole interval is below 50 %", candidate="late"
    )


def hostile() -> Readout:
    """Make an experiment in which every text from outside wants to be more than text."""
    script, image, turned, long, braces = HOSTILE
    options = (
        Offered(script, 0, (script,), 0.2),
        Offered(turned, 1, (image,), 0.5),
        Offered(long, 2, (script, image), 0.3, braces),
    )
    fair = estimate(0.5)
    duel = Example(braces, AT_US, image, 0.65, options, HOSTILE)
    one = comparison(
        items=(Where(script, List.A, 5, 0.5, 0.2, estimate(0.3), 0.1, notable=True, title=image),
               Where(turned, List.B, 5, 0.5, 0.2, estimate(0.3), 0.1, notable=True, title=long)),
        categories=(Where(turned, List.B, 5, 0.5, 0.2, estimate(0.3), 0.1, notable=True),),
        providers=(Where(braces, List.A, 5, 0.5, 0.2, estimate(0.3), 0.1, notable=True),),
        candidate=image, control=script, wins=(duel,), losses=(duel,), reason=f"odd: {script}",
        statuses={"OK": 5, script: 1},
        segments=(Segment(script, turned, fair, notable=True), Segment(long, long, fair, notable=True)),
        reasons=(FactorShare(image, 0.5, 0.5), FactorShare(long, 0.1, 0.9)),
        outlying_items=(OutlyingItem(script, image, 25, 0.9, 0.2, 0.5), OutlyingItem(turned, "", 25, 0.9, 0.2, 0.5)),
        checks=(Check(script, CheckState.OK, image),), guardrails=(Guarded(long, 0.1, GuardrailState.BROKEN, turned),),
    )  # fmt: skip
    return readout("../" + script + turned, epoch(one, fingerprint=long), epoch(one, fingerprint=image))
