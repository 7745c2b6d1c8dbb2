"""Where the marks of the page stand, and when an experiment is expected to finish."""

import hashlib
import re

import pytest
from hypothesis import given, strategies as st

from tests.support.experiment import page_examples as made
from tests.support.experiment.page_client import Elements, client
from worker.experiment.page.charts import MAX_POINTS, Scale, scale, thinned
from worker.experiment.page.forecast import finish
from worker.experiment.page.rendering import HERE
from worker.experiment.readout import Point
from worker.experiment.statistics.confidence import Estimate, Interval


def points(*users: int) -> list[Point]:
    """Make a timeline with a point an hour."""
    return [Point(hour * made.HOUR_US, count, 0.5, None, None) for hour, count in enumerate(users, 1)]


@pytest.mark.parametrize(
    ("users", "hours", "reached", "why"),
    [
        ((100, 200), 10.0, False, ""),
        ((500, 600, 700, 800), 6.0, False, ""),
        ((700, 750, 780, 790, 795), 46.0, False, ""),  # of the newer half, 780 to 795 in two hours, hence 205 in 27.3
        ((400, 1_000, 1_200), 2.0, True, ""),
        ((), None, False, "no users yet"),
        ((10,), None, False, "only one point in time so far"),
        ((10, 20, 20, 20), None, False, "no new users recently"),
        ((1, 1, 1, 1, 2) + (2,) * 2 + (3,) * 2, None, False, "more than a year away at this pace"),
    ],
)
def test_an_experiment_is_expected_to_finish_where_the_line_meets_the_plan(
    users: tuple[int, ...], hours: float | None, reached: bool, why: str
) -> None:
    """The newer half of the points is drawn on; without growth, or for years ahead, nothing is said."""
    found = finish(points(*users), planned_users=1_000 if "year" not in why else 100_000)
    if hours == 46.0:
        hours = 5 + 205 * 2 / 15
    assert (found.reached, found.why) == (reached, why)
    assert (found.at_us is None) == (hours is None)
    assert found.at_us is None or found.at_us == pytest.approx((hours or 0) * made.HOUR_US, abs=2)


def test_an_experiment_chart_says_the_same_as_its_table() -> None:
    """The points that are drawn are the rows of the table: first, last, evenly between, and no more than fit."""
    many = made.timeline(0.53, points=3_000)
    shown = thinned(many)
    assert (len(shown), shown[0], shown[-1]) == (MAX_POINTS, many[0], many[-1])
    page = client(made.readout("e", made.epoch(made.comparison(timeline=many)))).get("/experiments/e").text
    rows = [attributes for tag, attributes in Elements(page).tags if tag == "tr" and "data-at" in attributes]
    assert [int(row["data-at"] or 0) for row in rows] == [point.until for point in shown]
    assert [float(row["data-value"] or 0) for row in rows] == [point.value for point in shown]
    assert f"{MAX_POINTS} of 3,000 points" in page


@given(st.floats(-1, 1), st.floats(0, 0.5), st.sampled_from([0.0, 0.5]))
def test_an_experiment_scale_holds_what_it_shows(value: float, half: float, null: float) -> None:
    """An interval lies inside the drawing, its value inside the interval, and the null in the middle."""
    one = Estimate(500, value, Interval(value - half, value + half))
    axis = scale(null, [one]) if null == 0 else Scale(0.5, 0.5)
    mark = axis.mark(one)
    assert mark.low is not None
    assert mark.high is not None
    assert mark.at is not None
    assert 0 <= mark.low <= mark.at <= mark.high <= 100
    assert axis.place(null) == 50


def test_the_library_of_the_experiment_page_is_the_one_that_was_published() -> None:
    """Each file that is not ours has the sum that the note beside it says, and its licence lies there too."""
    notes = (HERE / "static" / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"\| `(uPlot\S+)` \|.*`([0-9a-f]{64})` \|", notes))
    assert set(named) == {path.name for path in (HERE / "static").glob("uPlot.*min*")}
    assert all(
        hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest() == sum_ for name, sum_ in named.items()
    )
    assert "MIT" in (HERE / "static" / "uPlot.LICENSE").read_text(encoding="utf-8")
