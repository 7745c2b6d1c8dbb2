"""Fill the generated blocks of the reference pages, and of the chart's schema; `--check` only says which are stale."""

import re
import sys
from pathlib import Path

from tools.reference import chart
from tools.reference.blocks import BLOCKS
from tools.stale import main

PAGES = Path(__file__).parents[2] / "docs"
PLACE = re.compile(r"(<!-- generated: (?P<name>[\w/-]+) -->\n)(?P<body>.*?)(<!-- /generated -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a page with every block made anew.  Raises KeyError for a block that nothing makes."""
    return PLACE.sub(lambda place: f"{place[1]}\n{BLOCKS[place['name']]().strip()}\n\n{place[4]}", text)


def named(text: str) -> list[str]:
    """Return the names of the blocks of a page."""
    return [place["name"] for place in PLACE.finditer(text)]


def pages() -> list[Path]:
    """Return every page that may hold generated blocks: the documentation, and the chart's README."""
    return [*sorted(PAGES.rglob("*.md")), chart.CHART / "README.md"]


def stale(*, write: bool) -> list[Path]:
    """Return the pages whose blocks differ from the code; with `write`, write them."""
    found = []
    for page in [*pages(), chart.SCHEMA]:
        before = page.read_text(encoding="utf-8")
        after = chart.schema(before) if page == chart.SCHEMA else filled(before)
        if after != before:
            found.append(page)
            if write:
                page.write_text(after, encoding="utf-8")
    return found


if __name__ == "__main__":
    sys.exit(main(lambda write: stale(write=write)))
