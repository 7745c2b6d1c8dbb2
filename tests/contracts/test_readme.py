"""README says what the code says: its tables are made from the code.  Run as a program, this rewrites it."""

import re
from pathlib import Path

from annotated_types import Ge, Gt, Le

from worker.core.prompts import prompt
from worker.core.simulation.questions import Status
from worker.settings import Settings, prompt_profiles

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    """Return the table: one row a setting, in the order of the code."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "", [], {}) else f"`{_plain(field.default)}`"
        rows.append(f"| `{name}` | {default} | {_range(field.metadata)} | {field.description} |")
    return "\n".join(rows) + "\n"


def domains_table() -> str:
    """Return the attributes that each domain's layout shows."""
    rows = ["| domain | of an item | of a past item also | of the user |", "| --- | --- | --- | --- |"]
    for domain, layout in prompt_profiles.load("mirror-v1").domains.items():
        shown = [", ".join(f"`{name}`" for name in names) for names in prompt.attributes(layout).values()]
        user, item, past = (text or ("" if domain != "generic" else "any") for text in shown)
        rows.append(f"| `{domain}` | {item} | {past} | {user or 'any'} |")
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


TABLES = {"settings": settings_table, "domains": domains_table}


def rewritten(text: str) -> str:
    """Return README with its tables made anew."""
    for name, table in TABLES.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        found = mark.search(text)
        assert found, f"README has no table of {name}"
        text = text[: found.end(1)] + table() + text[found.start(2) :]
    return text


def test_the_tables_are_what_the_code_says() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == rewritten(text), "run `python -m tests.contracts.test_readme`"


def test_every_test_file_that_readme_names_exists() -> None:
    named = re.findall(r"`(?:tests/(?:unit/|integration/)?)?(test_\w+\.py)`", README.read_text(encoding="utf-8"))
    there = {path.name for path in (README.parent / "tests").rglob("test_*.py")}
    assert set(named) <= there
    assert len(named) > 10


def test_every_status_and_flag_is_explained() -> None:
    explained = README.read_text(encoding="utf-8").split("What a response can say of itself", 1)[1]
    flags = ("depth_cut", "history_cut", "text_cut", "sanitised", "injection_suspected", "untrained_mode")
    assert [word for word in (*Status, *flags) if f"`{word}`" not in explained] == []


def test_every_path_that_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert [link for link in links if not (README.parent / link).exists()] == []


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")
