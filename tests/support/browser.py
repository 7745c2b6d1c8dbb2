"""A real Chromium without a window, for what no HTTP test can see: scripts, focus, layout, contrast.

    with chromium() as browser, Tab.opened(browser, base) as tab:
        tab.page.goto("/")

Debian's own browser is driven (`chromium`, else `chromium-browser` or `google-chrome`, or what MIRRORSTREAM_CHROMIUM
names); Playwright brings none.  Where there is none, root on a Debian machine, as in CI, installs it; anyone else is
told what to install: a test never changes the system of someone who is not its administrator, and never skips.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.patience import patience

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGE = "chromium"  # Debian's name
INSTALL_TIMEOUT_S = 900.0  # about 90 MB of packages
LOCK_TIMEOUT_S = 300  # another apt-get may be at work
# Root needs --no-sandbox, and the pages are our own; a container's /dev/shm is often too small.
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb")
WAIT_MS = 15_000.0  # for what a busy machine may delay


class MissingBrowser(RuntimeError):
    """There is no browser; the tests fail rather than skip what they claim."""


def find() -> str:
    """Return the path of a browser, installed if need be and allowed."""
    if found := _on_path():
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingBrowser(f"PATH: none of {', '.join(NAMES)}; install {PACKAGE} (Debian's name)")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", PACKAGE]):
        lock = f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}"
        subprocess.run(
            ["apt-get", "-qq", "-o", lock, *command], check=True, env=quiet, timeout=patience(INSTALL_TIMEOUT_S),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    if found := _on_path():
        return found
    raise MissingBrowser(f"apt-get installed {PACKAGE}, and still none of {', '.join(NAMES)} is on the PATH")


def _on_path() -> str | None:
    named = os.environ.get("MIRRORSTREAM_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Tab:
    """A page in a context of its own, with what it asked for and complained of."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # requests that left the origin

    @classmethod
    @contextmanager
    def opened(cls, browser: Browser, base: str, **options: Any) -> Iterator["Tab"]:
        """Open a tab; `options` are those of Playwright's `new_context`."""
        context = browser.new_context(base_url=base, **options)
        context.set_default_timeout(1000 * patience(WAIT_MS / 1000))
        try:
            tab = cls(context.new_page(), base)
            tab.page.on("console", lambda said: tab._complain(said.type, said.text))
            tab.page.on("pageerror", lambda error: tab._complain("error", str(error)))
            context.on("request", lambda asked: tab._ask(asked.url))
            yield tab
        finally:
            context.close()

    def _ask(self, url: str) -> None:
        if not url.startswith(f"{self.base}/"):
            self.elsewhere.append(url)

    def _complain(self, kind: str, words: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(words)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def violations(self) -> list[str]:
        """Return what axe-core has against the page as it stands, whatever the impact: rule, and where."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['impact']} {one['id']}: {node['target']} {node['failureSummary']}"
            for one in found
            for node in one["nodes"]
        ]
