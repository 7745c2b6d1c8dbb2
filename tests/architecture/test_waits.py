"""Waits of the tests end on a busy machine as they do on a quiet one: each ceiling is a `patience`."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import patience as module
from tests.support.patience import MAX_SLOWNESS, patience, slowness

TESTS = Path(__file__).parents[1]
ROOMS = ("support", "integration", "faults")
OPTIONS = {"timeout", "timeout_s", "request_timeout", "operation_timeout"}
METHODS = {"exit_code", "flush", "result", "stop", "wait"}  # whose first argument is a time-out
SHORT_S = 1.0  # what is shorter is how often somebody looks


def bare(limit: ast.expr) -> bool:
    """Say whether a time-out is a number of seconds that no machine changes: written out, or a constant's name."""
    nodes = list(ast.walk(limit))
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if any(name == "patience" or name.endswith("_s") for name in calls):
        return False
    named = any(isinstance(node, ast.Name) and node.id.isupper() for node in nodes)
    numbers = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return named or any(isinstance(number, int | float) and number >= SHORT_S for number in numbers)


def limits(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield all time-outs and deadlines of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (one.value for one in node.keywords if one.arg in OPTIONS)
            if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                yield from node.args[:1]
        elif (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Add)
            and ast.unparse(node.left) == "time.monotonic()"
        ):
            yield node.right


def test_every_ceiling_grows_with_the_machine() -> None:
    breaches = [
        f"{path.relative_to(TESTS)}:{limit.lineno} waits {ast.unparse(limit)}"
        for room in ROOMS
        for path in sorted((TESTS / room).rglob("*.py"))
        for limit in limits(ast.parse(path.read_text(encoding="utf-8")))
        if bare(limit)
    ]
    assert breaches == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("future.result(WAIT_S)", True),
        ("worker.stop(20)", True),
        ("a.until(ended, timeout_s=TRANSACTION_S + 3)", True),
        ("deadline_s = time.monotonic() + 30", True),
        ("worker.stop(DRAIN_S + patience(3))", False),
        ("consumer.consume(10, timeout=0.2)", False),
        ("process.wait(limit_s)", False),
    ],
)
def test_a_bare_number_of_seconds_is_found(text: str, *, found: bool) -> None:
    assert any(map(bare, limits(ast.parse(text)))) == found


@pytest.mark.parametrize(
    ("load", "loop", "expected"),
    [(0.0, 0.5, 1.0), (1.0, 1.0, 1.0), (8.0, 1.0, 4.0), (0.0, 3.0, 3.0), (1000.0, 1.0, MAX_SLOWNESS)],
)
def test_a_machine_is_as_slow_as_the_worse_of_its_two_measurements(
    monkeypatch: pytest.MonkeyPatch, load: float, loop: float, expected: float
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(module, "at_the_start", lambda: loop)
    assert slowness() == expected
    assert patience(20) == 20 * expected


def test_a_ceiling_stays_under_the_time_that_it_must_be_told_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "slowness", lambda: MAX_SLOWNESS)
    assert 20 < patience(20, below_s=60) < 60
    assert patience(59, below_s=60) == 59
    with pytest.raises(AssertionError, match="no ceiling"):
        patience(60, below_s=60)


def test_no_example_of_a_property_has_a_deadline() -> None:
    assert hypothesis.settings().deadline is None
