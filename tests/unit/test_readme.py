"""README says what the code says: the settings table is made from the settings.  Run as a program, this rewrites it."""

import re
from pathlib import Path

from annotated_types import Ge, Gt, Le

from worker.settings import Settings

README = Path(__file__).parents[2] / "README.md"
_TABLE = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)


def settings_table() -> str:
    """Return the table: one row a setting, in the order of the code."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "", [], {}) else f"`{_plain(field.default)}`"
        rows.append(f"| `{name}` | {default} | {_range(field.metadata)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _plain(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def _range(metadata: list[object]) -> str:
    """Return the bounds as mathematics writes them."""
    low = next(
        (
            f"[{bound.ge}" if isinstance(bound, Ge) else f"({bound.gt}"
            for bound in metadata
            if isinstance(bound, Ge | Gt)
        ),
        "",
    )
    high = next((f"{bound.le}]" for bound in metadata if isinstance(bound, Le)), "")
    return f"{low or '('}, {high or ')'}" if low or high else ""


def test_the_settings_table_is_the_settings() -> None:
    found = _TABLE.search(README.read_text(encoding="utf-8"))
    assert found, "README has no settings table"
    assert found[0] == f"{found[1]}{settings_table()}{found[2]}", "run `python -m tests.unit.test_readme`"


def test_every_path_that_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert [link for link in links if not (README.parent / link).exists()] == []


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(_TABLE.sub(lambda found: found[1] + settings_table() + found[2], text), encoding="utf-8")
