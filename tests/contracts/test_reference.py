"""The reference pages say what the code says, and every page keeps the form that readers are promised."""

import re
from itertools import takewhile
from pathlib import Path

import pytest

from tools.reference import __main__ as reference
from tools.reference.blocks import BLOCKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MAX_COLUMNS = 5
MAX_LINE = 120
# A table's row is one line however wide its cells are, and output is as the command prints it.
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
GENERATED = re.compile(r"<!-- generated: .*?<!-- /generated -->", re.DOTALL)
LINK = re.compile(r"\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)]*))?\)")


def prose(page: Path) -> str:
    """Return a page without what commands print and what is made from code."""
    return GENERATED.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))


def test_every_generated_block_is_what_the_code_says() -> None:
    stale = reference.stale(write=False)
    assert stale == [], "run `make docs-reference`"


def test_every_block_stands_on_a_page() -> None:
    named = {name for page in reference.pages() for name in reference.named(page.read_text(encoding="utf-8"))}
    assert named == set(BLOCKS)


def test_a_block_that_differs_from_the_code_is_found() -> None:
    page = "<!-- generated: exit-codes -->\nold\n<!-- /generated -->\n"
    assert reference.filled(page) != page
    assert reference.filled(reference.filled(page)) == reference.filled(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_keeps_its_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# \S.*\n\n[A-Z\[`*]", text), "want a title and then a sentence on what the reader can do"
    lines = prose(page).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert [line for line in lines if len(line) > MAX_LINE and not line.startswith("|")] == []
    assert [row for row in rows if row.replace("\\|", "").count("|") > MAX_COLUMNS + 1] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / link["path"]).resolve() if link["path"] else page
        if not target.is_file() or (
            link["anchor"] and target.suffix == ".md" and link["anchor"] not in anchors(target)
        ):
            broken.append(link[0])
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    shown = set(re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8")))
    assert shown == {str(page.relative_to(DOCS)) for page in PAGES}


def test_an_option_that_a_command_cannot_do_without_says_so() -> None:
    """Without a default and without a mark it would look like all the others that may be left out."""
    _, _, export = BLOCKS["cli"]().partition("## mirrorstream experiment export\n")
    section, _, _ = export.partition("\n## ")
    marked = re.findall(r"^\| `(--[a-z]+)` \| required \|", section, re.MULTILINE)
    assert marked == ["--experiment", "--state", "--to"]


def test_every_command_that_a_page_names_is_there() -> None:
    """A page that cannot run here, or runs in the long suite alone, still names real commands and options."""
    found = re.findall(r"^## (mirrorstream[\w -]*)$", BLOCKS["cli"](), re.MULTILINE)
    options = set(re.findall(r"`(--?[a-z][\w-]*)`", BLOCKS["cli"]())) | {"--help", "-h", "--version"}
    wrong = []
    for page in PAGES:
        for line in re.findall(
            r"^(?:\$ |> )?(?:\S+/)?(mirrorstream .+)$", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            words = line.split(" #")[0].split()
            name = " ".join(takewhile(lambda word: re.fullmatch(r"[a-z-]+", word) and not word.startswith("-"), words))
            known = any(name == one or name.startswith(f"{one} ") for one in found) or len(words) == 1
            unknown = [word for word in words if re.fullmatch(r"--[a-z-]+", word) and word not in options]
            if unknown or (not known and not words[1].startswith("-")):
                wrong.append(f"{page.relative_to(ROOT)}: {line}")
    assert wrong == []
