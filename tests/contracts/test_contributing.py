"""What CONTRIBUTING.md says of the rooms, held against the folders and the rules."""

import re
from pathlib import Path

from tests.architecture.test_layers import RANKS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_place_that_it_names_is_there() -> None:
    places = re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", TEXT)
    assert len(places) > 20
    homes = (ROOT, ROOT / "worker", ROOT / "tests")
    assert [one for one in places if not any((home / one).exists() for home in homes)] == []


def test_every_room_has_its_row() -> None:
    rows = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", TEXT, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z]+)`", row)} == set(RANKS)


def test_every_make_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", TEXT)) <= targets
