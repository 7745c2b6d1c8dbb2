"""The two pictures of README: what the demo's last screen and an experiment's page look like.

`MIRRORSTREAM_PICTURES=docs/images python -m pytest -m long tests/integration/test_pictures.py` writes them anew.
"""

import io
import os
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from rich.console import Console
from rich.text import Text

from tests.integration.test_experiment_page import MAIN, START, serving
from tests.support.browser import Tab
from tests.support.experiment import page_examples as made
from tests.support.terminal import terminal

WIDTH = 100  # characters
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")  # all but colours: moves of the cursor, erased lines
pytestmark = pytest.mark.long


def last_screen(printed: str) -> str:
    """Return what stands on the screen when the demo has ended, from its verdict on."""
    lines = ESCAPE.sub("", printed.replace("\r", "\n")).splitlines()
    first = max(number for number, line in enumerate(lines) if "simulated users compared" in line)
    return "\n".join(line for line in lines[first:] if line.strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    folder = Path(os.environ.get("MIRRORSTREAM_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_demos_last_screen(folder: Path) -> None:
    command = (sys.executable, "-m", "worker", "demo", "--engine", "choice-model", "--events", "500")
    with terminal(*command, NO_COLOR="", COLUMNS=str(WIDTH), TERM="xterm-256color") as demo:
        demo.until_printed("until Ctrl-C")
        demo.interrupt()
        shown = last_screen(demo.printed)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), highlight=False)
    picture = console.export_svg(title="make demo ENGINE=choice-model")
    # Rich's picture loads its font from elsewhere; any monospaced font of the reader's will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (folder / "demo.svg").write_text(picture, encoding="utf-8")
    assert "https://" not in picture.replace("https://www.textualize.io", "")
    assert "candidate" in picture


def test_the_page_of_an_experiment(browser: Browser, folder: Path) -> None:
    size = {"width": 1200, "height": 720}
    with serving(made.Changing(START)) as base, Tab.opened(browser, base, viewport=size) as tab:
        tab.page.goto(MAIN, wait_until="load")
        tab.page.screenshot(path=folder / "page.png")
    assert (folder / "page.png").stat().st_size > 20_000
