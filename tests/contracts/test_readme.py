"""README stays short enough to be read, and what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_LINES = 200
MAX_LINE = 120


def test_it_is_short() -> None:
    lines = TEXT.splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_LINE] == []


def test_every_path_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT) + re.findall(r'src(?:set)?="([^"]+)"', TEXT)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_its_guarantee_is_the_documentations() -> None:
    guarantee = "Each input record is answered exactly once for readers with `isolation.level=read_committed`"
    assert guarantee in TEXT
    assert guarantee in (ROOT / "docs" / "explanation" / "guarantee.md").read_text(encoding="utf-8")
