"""The plot of a backtest is one SVG that says what it shows, whatever the names."""

from xml.etree import ElementTree as ET

from worker.experiment.page.backtest_plot import plot
from worker.experiment.real_clicks.backtest import Finished, backtest
from worker.experiment.statistics.confidence import Interval

SVG = "{http://www.w3.org/2000/svg}"
TESTS = [
    Finished("right", 0.1, 0.02, Interval(0.01, 0.03), 0.02),
    Finished('<wrong> & "odd"', -0.1, 0.02, Interval(0.01, 0.03), 0.02),
    Finished("neither", 0.05, 0.01, Interval(-0.01, 0.03)),
    *(Finished(f"e{number}", number / 50, number / 200) for number in range(1, 4)),
]  # fmt: skip


def test_each_test_has_a_mark_by_its_kind_where_its_effects_are() -> None:
    drawn = ET.fromstring(plot(TESTS, backtest(TESTS)))  # noqa: S314 - our own text
    marks = [mark for mark in drawn.findall(f"{SVG}g") if mark.find(f"{SVG}title") is not None]
    titles = [mark.findtext(f"{SVG}title") for mark in marks]
    assert titles[:2] == ["right: simulated +0.100, real +0.020", '<wrong> & "odd": simulated -0.100, real +0.020']
    assert len(titles) == len(TESTS)
    kinds = [mark.find(f"{SVG}circle") for mark in marks]
    assert kinds[1] is None, "want a cross"
    assert kinds[0] is not None
    assert kinds[2] is not None
    assert (kinds[0].get("fill"), kinds[2].get("fill")) == ("#0b6e4f", "#ffffff")
    assert float(kinds[0].get("cx", "0")) > float(kinds[2].get("cx", "0")), "want the larger effect further right"
    assert float(kinds[0].get("cy", "0")) < float(kinds[2].get("cy", "0")), "want the larger lift further up"
    assert "4 of 5 finished tests with the right direction" in (drawn.findtext(f"{SVG}title") or "")
    assert any(line.get("stroke-dasharray") for line in drawn.findall(f"{SVG}line")), "want the slope"


def test_no_test_and_no_spread_are_drawn_too() -> None:
    for tests in ([], [Finished("a", 0.0, 0.0)]):
        ET.fromstring(plot(tests, backtest(tests)))  # noqa: S314 - our own text
