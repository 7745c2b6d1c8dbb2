"""Each row of the report stands on the page that explains it."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.support.experiment import page_examples as made
from worker.experiment.readout import OutlyingItem
from worker.experiment.report.terminal import render

PAGE = Path("docs/how-to/read-the-verdict.md")


def test_each_row_of_the_report_is_explained() -> None:
    """By its name; a metric's own name is X on the page, and checks stand in the table of checks."""
    outlying = (OutlyingItem("i", "", 50, 0.9, 0.1, 0.5),)
    epoch = made.epoch(made.comparison(plan_gain="a plan would gain", outlying_items=outlying))
    console = Console(file=StringIO(), width=1_000, record=True)
    console.print(render(made.report(made.readout("e", epoch))))
    rows = [line.split("\u2502")[1].strip() for line in console.export_text().splitlines() if line.startswith("\u2502")]
    text = PAGE.read_text(encoding="utf-8")
    metrics = {effect.metric.replace("_", " ") for one in epoch.comparisons for effect in one.effects}
    unexplained = [row for row in rows if row and not any(name in text for name in _names(row, metrics))]
    assert len(rows) > 20
    assert unexplained == []


def _names(row: str, metrics: set[str]) -> list[str]:
    """Return what the page may call a row."""
    for metric in sorted(metrics, key=len, reverse=True):
        if row.startswith(f"{metric}, "):
            rest = ", candidate - control" if "candidate - control" in row else row.removeprefix(metric)
            return [f"| X{rest} |"]
    if row.startswith("guardrail "):
        return ["| guardrail X |"]
    name = row.partition(":")[0]  # of a placebo, its kind follows
    return [f"| {name} |", f"| {name},", f", {name} |", f"| {name}:"]
