"""What the contributing pages say of the code, held against the folders and the rules.

Every place that a page names in backticks exists, every room has its row, and every make target is there.  The pages of
`docs/explanation` and `docs/benchmarks` name tests and programs, so their places are checked too.
"""

import re
from pathlib import Path

import pytest

from tests.architecture.test_layers import RANKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("contributing", "explanation", "benchmarks")
PAGES = [
    ROOT / "CONTRIBUTING.md",
    *(page for folder in FOLDERS for page in sorted((DOCS / folder).glob("*.md"))),
    *(DOCS / "reference" / f"{name}.md" for name in ("kafka-errors", "kafka-permissions", "memory")),
]
HOMES = (ROOT, ROOT / "worker", ROOT / "tests")  # a place is named from one of these
TOPS = {path.name for home in HOMES for path in home.iterdir() if path.is_dir()}
PLACE = re.compile(r"`([A-Za-z_]+/[\w./-]*)`")
RECIPES = [page for page in PAGES if page.name.startswith(("add-", "change-"))]


def _name(page: Path) -> str:
    return f"{page.parent.name}/{page.name}"


def places(text: str) -> list[str]:
    """List the files and folders that a page names; what starts like none of ours is a name of Kafka's or others'."""
    return [one for one in PLACE.findall(text) if one.partition("/")[0] in TOPS]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_place_that_a_page_names_is_there(page: Path) -> None:
    found = places(page.read_text(encoding="utf-8"))
    assert [one for one in found if not any((home / one).exists() for home in HOMES)] == []


def test_a_place_that_is_not_there_is_found_out() -> None:
    assert places("`worker/no_such.py`, `Product/Service`, `core/`, `tests/unit/`") == [
        "worker/no_such.py", "core/", "tests/unit/",
    ]  # fmt: skip


@pytest.mark.parametrize("page", RECIPES, ids=_name)
def test_a_recipe_names_the_test_the_files_and_the_pages(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert {"Test first", "Pages to change"} <= set(headings) or page.name == "add-a-schema-field.md"
    named = places(text)
    assert any(one.startswith("tests/") for one in named)
    assert len(named) >= 4


def test_the_guide_links_to_every_recipe() -> None:
    guide = (DOCS / "contributing" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in RECIPES if f"({page.name})" not in guide] == []
    assert len(RECIPES) > 10


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_between_these_pages_leads_somewhere(page: Path) -> None:
    """Other pages may be written elsewhere; of these, the page and the heading must be there."""
    ours = {one.resolve(): _anchors(one.read_text(encoding="utf-8")) for one in PAGES}
    broken = []
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        at = (page.parent / name).resolve() if name else page.resolve()
        is_ours = at in ours or at.parent.name in FOLDERS
        if is_ours and (at not in ours or (anchor and anchor not in ours[at])):
            broken.append(target)
    assert broken == []


def _anchors(text: str) -> set[str]:
    """Return the names of a page's headings as the site makes them."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", one) for one in plain}


def test_every_room_has_its_row() -> None:
    text = (DOCS / "contributing" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z]+)`", row)} == set(RANKS)


def test_every_make_target_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", texts, re.MULTILINE))
    assert len(named) > 3
    assert named <= targets
