"""The page of security checks names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/security-checks.md").read_text()
NAMED = re.findall(r"`(test_\w+)`", PAGE)
WRITTEN = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())
}


@pytest.mark.parametrize("name", NAMED)
def test_a_security_check_has_its_test(name: str) -> None:
    assert name in WRITTEN


def test_every_row_of_the_page_has_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| check", "| ---"))]
    assert len(rows) == len(NAMED) == len(set(NAMED)) > 40
