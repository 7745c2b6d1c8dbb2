"""Questions that were not asked: whole users outside a share are no gap, a part of a user's is one."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.support.experiment.made import answers, response, slate
from tests.unit.experiment.report.test_assemble import DEFINED, only, report_of
from worker.experiment import wording
from worker.experiment.definition import Guardrail
from worker.experiment.readout import CheckState, Comparison, GuardrailState
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State

Record = dict[str, object]
SILENT: Record = {"duel_share": None, "contested_mass": None}
NOT_ASKED: Record = {"status": "NOT_ASKED", **SILENT}


def duels(
    users: int, unasked: Callable[[int, float], bool], *, events: int = 4, said: Record = NOT_ASKED, **changes: object
) -> Iterator[Record]:
    """Answer duels without an effect; `unasked` says by user and share which are not."""
    rng = random.Random(1)
    for user in range(users):
        for event in range(events):
            share = min(1.0, max(0.0, rng.gauss(0.5, 0.2)))
            fields = {"duel_share": share} | changes | (said if unasked(user, share) else {})
            yield response(user, event, **fields)  # type: ignore[arg-type]


def completeness(one: Comparison) -> tuple[CheckState, str]:
    (check,) = (check for check in one.checks if check.name == "pair completeness")
    return check.state, check.words


@pytest.mark.parametrize("events", [4, 1], ids=["in-part", "one-event-a-user"])
def test_an_experiment_whose_losing_duels_were_not_asked_is_not_trusted(events: int) -> None:
    """A worker asks the duels of an epoch or none of them: those that are not asked beside others are missing."""
    records = list(duels(400, lambda _, share: share < 0.5, events=events))
    one = only(report_of(records, DEFINED))
    lost = sum(record["status"] == "NOT_ASKED" for record in records)
    assert one.verdict is Verdict.DO_NOT_TRUST
    assert (one.events, one.missing, one.statuses["NOT_ASKED"]) == (400 * events, lost, lost)
    assert completeness(one)[0] is CheckState.FAILED
    assert completeness(one)[1].startswith(f"{lost:,} of {400 * events:,} pairs have no answer")
    assert one.worst_case is not None
    assert 0.5 in one.worst_case


def test_an_experiment_with_few_duels_that_were_not_asked_bounds_them() -> None:
    """Half a percent fail no check; the worst case has them, and the segment that lacks them too."""

    def gone(user: int, _: float) -> bool:
        return user < 8

    records = list(duels(400, gone, events=1, segments={"country": "NL"}))
    rule = replace(DEFINED, segments=("country",))
    one = only(report_of([*records, response(8, 1, **NOT_ASKED, segments={"country": "BE"})], rule))  # type: ignore[arg-type]
    assert completeness(one)[0] is CheckState.OPEN
    assert (one.missing, one.missing_share) == (9, 9 / 401)
    assert one.worst_case is not None
    assert one.worst_case.high - one.worst_case.low == pytest.approx(8.5 / 400)  # user 8 has half a value
    by_segment = next(check for check in one.checks if check.name == "missing by segment")
    assert by_segment.figures == {"share country=BE": 1.0, "share country=NL": 8 / 400}


def test_an_experiment_whose_slates_were_asked_in_part_of_a_user_is_not_trusted() -> None:
    """Whole users outside the share are no gap; of users inside, every slate is expected."""

    def slates(user: int, event: int, place: float, *, asked: bool) -> Iterator[Record]:
        lost: Record = {} if asked else {"status": "NOT_ASKED", "probabilities": (None, None)}
        yield slate(user, event, variant="control", probabilities=(0.5, 0.5))
        yield slate(user, event, **({"probabilities": (place, 1 - place)} | lost))  # type: ignore[arg-type]

    def found(asked: Callable[[int, float], bool]) -> Comparison:
        rng = random.Random(2)
        records: list[Record] = []
        for user in range(400):
            for event in range(4):
                place = min(1.0, max(0.0, rng.gauss(0.5, 0.1)))
                records += slates(user, event, place, asked=asked(user, place))
        rule = replace(DEFINED, primary_metric="reciprocal_rank", guardrails=(Guardrail("reciprocal_rank", 0.2),))
        return only(report_of(records, rule))

    share = found(lambda user, _: user % 2 == 0)
    assert (share.events, share.missing, completeness(share)[0]) == (800, 0, CheckState.OK)
    assert share.guardrails[0].state is GuardrailState.OK
    part = found(lambda _, place: place > 0.5)
    assert completeness(part)[0] is CheckState.FAILED
    assert part.missing > 600
    assert part.guardrails[0].state is GuardrailState.OPEN


def test_an_experiment_whose_duels_are_not_asked_does_not_say_that_none_was_read() -> None:
    one = only(report_of(duels(120, lambda *_: True), DEFINED))
    assert (one.events, one.missing, one.worst_case) == (0, 0, None)
    assert wording.worst_case(one) == "not identified: no pair was asked about"


@pytest.mark.parametrize("status", ["NOT_SAMPLED", "TIMEOUT", "UNKNOWN", "OK"])
def test_an_experiment_counts_missing_pairs_in_one_way(status: str) -> None:
    """Whatever status a duel without a share has, the count beside the verdict is the check's."""
    one = only(report_of(duels(200, lambda user, _: user < 20, said={"status": status, **SILENT}), DEFINED))
    assert (one.events, one.missing, one.missing_share) == (800, 80, 0.1)
    assert completeness(one)[1].startswith("80 of 800 pairs have no answer, 10.0%")


def test_an_experiment_of_slates_counts_the_pairs_of_its_primary_metric() -> None:
    """Not its duels, of which there may be another number, or none."""
    records: list[Record] = []
    for user in range(120):
        records += [slate(user, variant="control"), slate(user, status="TIMEOUT" if user < 12 else "OK")]
    one = only(report_of(records, replace(DEFINED, primary_metric="reciprocal_rank")))
    assert (one.events, one.missing, one.statuses) == (120, 12, {})
    assert completeness(one)[1].startswith("12 of 120 pairs have no answer")


def test_an_experiment_reports_alike_whenever_it_hears_what_was_not_asked() -> None:
    """Before, among or after the answers of the same users."""
    records = list(duels(150, lambda user, share: user < 30 and share < 0.5))
    shuffled = random.Random(3).sample(records, len(records))
    found = []
    for order in (records, shuffled):
        state = State()
        for record in order:
            state.take(answers([record]), health={}, positions={})
        found.append(report(state, Defaults()))
    assert found[0] == found[1]
