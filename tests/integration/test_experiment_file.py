"""The file of `experiment report --html` in a real Chromium, from the disk and without a network."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Tab
from tests.support.experiment import page_examples as made
from worker.experiment.page import document

OLDER = made.epoch(made.untrusted(), fingerprint="older", hour=9)
REPORT = made.report(
    made.readout(), made.readout("several", OLDER, made.epoch(made.losing(), made.comparison())), made.hostile()
)


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(1200, "light", id="desktop"), pytest.param(360, "dark", id="phone")]
)
def test_an_experiment_file_is_whole_by_itself(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    """Its own policy lets all of its scripts run: every chart is drawn, tables sort, links lead on.  Nothing is asked
    for elsewhere, nothing said on the console, and axe-core has nothing against it."""
    (tmp_path / "report.html").write_text(document.render(REPORT, written_at=made.AT_US), encoding="utf-8")
    base = tmp_path.as_uri()
    with Tab.opened(browser, base, viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True) as tab:
        page = tab.page
        page.goto(f"{base}/report.html")
        with_points = page.locator("section:has(.drawing)")
        assert with_points.count() == with_points.locator(".plot canvas").count() > 3
        wins = page.locator("table.duels").first
        button, header = wins.locator("th button").first, wins.locator("th[aria-sort]").first
        before = header.get_attribute("aria-sort")
        button.click()
        expect(header).not_to_have_attribute("aria-sort", before or "")
        page.locator(".candidates a").last.click()
        expect(page.locator("#x2-2-2-view")).to_be_in_viewport()
        assert tab.overflow() == 0
        assert tab.violations() == []
        assert (tab.complaints, tab.elsewhere) == ([], [])


def test_an_experiment_file_runs_nothing_that_was_put_into_it(browser: Browser, tmp_path: Path) -> None:
    """Were a tag to slip through, the file's own policy would still stop it."""
    text = document.render(REPORT, written_at=made.AT_US)
    (tmp_path / "report.html").write_text(
        text.replace("</main>", "<script>window.ran = true</script></main>"), encoding="utf-8"
    )
    with Tab.opened(browser, tmp_path.as_uri(), offline=True) as tab:
        tab.page.goto(f"{tmp_path.as_uri()}/report.html")
        assert tab.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in words for words in tab.complaints)
