"""A file of impressions is read as it is written, or the line that is wrong is named."""

import json
from pathlib import Path

import pytest

from worker.cli import replay_sources
from worker.core.errors import BadSettings

README = Path(__file__).parents[3] / "README.md"


def example() -> str:
    """Return README's example line."""
    return next(line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith('{"event_id"'))


def read(tmp_path: Path, *lines: str, limit: int = 0) -> list[str]:
    path = tmp_path / "impressions.jsonl"
    path.write_text("\n".join(lines))
    return [impression.event_id for impression, _ in replay_sources.from_json_lines(path, limit=limit)]


def test_the_line_in_readme_is_an_impression(tmp_path: Path) -> None:
    assert read(tmp_path, example()) == ["0b9ad3f5-5d3c-4d3e-9a53-1f0f5a1c7e11"]


def test_a_limit_stops_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    assert len(read(tmp_path, example(), "", example(), example(), limit=3)) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"occurred_at": 1_764_500_000_000}, "line 1: occurred_at: 1764500000000, want microseconds"),
        ({"user_id": "u1"}, "line 1: user_id: is no field"),
        ({"slates": []}, "line 1: slates"),
    ],
)
def test_a_plausible_mistake_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read(tmp_path, json.dumps(json.loads(example()) | change))


def test_what_is_not_json_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="line 2: is not JSON"):
        read(tmp_path, example(), "{")
