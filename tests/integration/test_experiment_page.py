"""The page of an experiment in a real Chromium: what is seen, with the keyboard, while figures change, in any size.

Screenshots are written to MIRRORSTREAM_SCREENSHOTS, or where pytest keeps its temporary files.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import WAIT_MS, Tab
from tests.support.experiment import page_examples as made
from tests.support.patience import patience
from worker.experiment.page.addresses import page_of
from worker.experiment.page.serving import address, listen, server
from worker.experiment.page.views import HEADLINES
from worker.experiment.readout import Readout
from worker.experiment.statistics.confidence import Verdict

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
ZOOMED = {"width": 640, "height": 400}  # 1280 by 800 at 200 %
MAIN = "/experiments/home-ranker-7"
START = made.report(
    made.readout(),
    made.readout("waits", made.epoch(made.waiting())),
    made.readout("failed", made.epoch(made.untrusted())),
    made.readout("several", made.epoch(made.untrusted(), hour=9), made.epoch(made.losing(), made.comparison())),
    made.hostile(),
)
PAGES = {
    "index": "/",
    "preferred": MAIN,
    "waits": "/experiments/waits",
    "failed": "/experiments/failed",
    "several": "/experiments/several",
    "hostile": page_of(made.hostile().experiment_id),
    "api": "/api",
}
ROLLED = "window.scrollY"


@contextmanager
def serving(source: made.Changing, *, token: str | None = None) -> Iterator[str]:
    """Serve a source on this machine, in a thread."""
    with listen("127.0.0.1", 0) as listening:
        serves = server(source, token=token)
        thread = threading.Thread(target=serves.run, kwargs={"sockets": [listening]}, name="page")
        thread.start()
        try:
            yield address(listening).rstrip("/")
        finally:
            serves.should_exit = True
            thread.join(patience(WAIT_MS / 1000))
            assert not thread.is_alive()


@pytest.fixture
def source() -> made.Changing:
    """Figures that a test may change."""
    return made.Changing(START)


@pytest.fixture
def base(source: made.Changing) -> Iterator[str]:
    """Where they are served."""
    with serving(source) as base:
        yield base


@pytest.fixture
def tab(browser: Browser, base: str) -> Iterator[Tab]:
    """A desktop's tab; nothing may be said on its console, nor be asked for elsewhere."""
    with Tab.opened(browser, base, viewport=DESKTOP) as tab:
        yield tab
        assert (tab.complaints, tab.elsewhere) == ([], [])


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("MIRRORSTREAM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.long),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.long),
    ],
)
def test_every_experiment_page_fits_is_accessible_and_asks_nobody_else(
    browser: Browser, base: str, screenshots: Path, size: dict[str, int], scheme: str
) -> None:
    """At each size and in each theme: no sideways scrolling, nothing that axe-core objects to, no word on the console,
    no request to another origin."""
    with Tab.opened(browser, base, viewport=size, color_scheme=scheme) as tab:
        for name, path in PAGES.items():
            answer = tab.page.goto(path, wait_until="load")
            assert answer is not None
            assert answer.ok, path
            tab.page.screenshot(path=screenshots / f"{name}-{size['width']}-{scheme}.png", full_page=True)
            assert tab.overflow() == 0, path
            assert tab.violations() == [], path
        assert (tab.complaints, tab.elsewhere) == ([], [])


@pytest.mark.parametrize("size", [DESKTOP, PHONE, ZOOMED], ids=["desktop", "phone", "zoomed"])
def test_the_experiment_verdict_is_seen_at_once(browser: Browser, base: str, size: dict[str, int]) -> None:
    """Verdict, headline figure and its interval stand in the first screen, the verdict as its largest words."""
    with Tab.opened(browser, base, viewport=size) as tab:
        tab.page.goto(MAIN)
        wanted = ["#said"] if size is ZOOMED else ["#said", ".headline"]
        for place in wanted:
            expect(tab.page.locator(place)).to_be_in_viewport(ratio=1)
        assert tab.overflow() == 0
        sizes = tab.page.evaluate("""
            [...document.querySelectorAll('h1, h2, h3, p, td')]
                .map((e) => [parseFloat(getComputedStyle(e).fontSize), e.id])
        """)
        assert max(sizes)[1] == "said"


def test_an_experiment_page_with_large_letters_still_fits(tab: Tab) -> None:
    """Letters of twice the size push nothing out of a window."""
    tab.page.goto(MAIN)
    tab.page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert tab.overflow() == 0


def test_an_experiment_page_is_worked_by_keyboard(tab: Tab) -> None:
    """The skip link comes first; sorting, details and theme answer to Enter, say so, and show where the focus is."""
    page = tab.page
    page.goto(MAIN)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    shares = "[...document.querySelectorAll('#wins tbody')].map((b) => Number(b.rows[0].cells[0].dataset.value))"
    before = page.evaluate(shares)
    button = page.locator("#wins th button").first
    header = page.locator("#wins thead th").first
    expect(header).to_have_attribute("aria-sort", "descending")
    button.focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert page.evaluate(shares) == sorted(before) != before
    expect(button).to_be_focused()
    assert button.evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#wins thead th").nth(1)).to_have_attribute("aria-sort", "descending")
    expect(header).to_have_attribute("aria-sort", "none")

    details = page.locator("#wins details").nth(2)
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(details).to_have_attribute("open", "")


def test_new_figures_of_an_experiment_disturb_nobody(tab: Tab, source: made.Changing) -> None:
    """When the verdict turns, the page says so by itself; focus, place, open details and the order of a table stay."""
    page = tab.page
    page.goto(MAIN)
    page.locator("#losses th button").nth(1).click()
    details = page.locator("#losses tbody", has_text="event-14").locator("details")
    details.locator("summary").click()
    page.locator("#reasons-table th button").first.focus()
    button = page.locator("#reasons-table th button").nth(2)
    button.scroll_into_view_if_needed()
    button.focus()
    place = button.bounding_box()
    rolled = page.evaluate(ROLLED)
    order = page.locator("#losses tbody").evaluate_all("(all) => all.map((b) => b.dataset.key)")
    page.evaluate("window.same = document.activeElement")

    older = made.epoch(made.untrusted(), fingerprint="older", hour=9)  # its banner comes above all that is seen
    turned = made.comparison(0.46, verdict=Verdict.CONTROL_PREFERRED, reason="the whole interval is below 50 %")
    source.change(
        replace(START, readouts=(made.readout("home-ranker-7", older, made.epoch(turned)), *START.readouts[1:]))
    )

    expect(page.locator("#said")).to_contain_text(HEADLINES[Verdict.CONTROL_PREFERRED])
    expect(page.locator("#epochs")).to_be_attached()
    expect(button).to_be_focused()
    assert page.evaluate("document.activeElement === window.same")
    assert rolled > 500
    now = button.bounding_box()
    assert place is not None
    assert now is not None
    assert now["y"] == pytest.approx(place["y"], abs=2)
    expect(details).to_have_attribute("open", "")
    assert page.locator("#losses tbody").evaluate_all("(all) => all.map((b) => b.dataset.key)") == order
    expect(page.locator("#losses thead th").nth(1)).to_have_attribute("aria-sort", "descending")
    assert page.locator("#said").get_attribute("aria-live") == "polite"
    assert page.locator("[aria-live]").count() == 1


def test_an_experiment_page_stands_still_when_asked_to(tab: Tab, source: made.Changing) -> None:
    """Paused, nothing is fetched; going on, the newest figures come at once."""
    page = tab.page
    page.clock.install()
    page.goto(MAIN)
    pause = page.get_by_role("button", name="Pause updates")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    source.change(replace(START, readouts=(made.readout("home-ranker-7", made.epoch(made.untrusted())),)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    expect(page.locator("#said")).to_contain_text(HEADLINES[Verdict.CANDIDATE_PREFERRED])
    pause.click()
    expect(page.locator("#said")).to_contain_text(HEADLINES[Verdict.DO_NOT_TRUST])


def test_an_experiment_page_that_gets_no_answer_says_so(browser: Browser, source: made.Changing) -> None:
    """Figures that stand still never look alive."""
    with serving(source) as base, Tab.opened(browser, base, viewport=DESKTOP) as tab:
        tab.page.clock.install()
        tab.page.goto(MAIN)
        expect(tab.page.locator("#live-words")).to_have_text("Live")
        tab.page.context.set_offline(True)
        tab.page.clock.run_for(5_000)
        expect(tab.page.locator("#live-words")).to_have_text("No connection: the figures are not updated")
        tab.page.context.set_offline(False)
        tab.page.clock.run_for(60_000)
        expect(tab.page.locator("#live-words")).to_have_text("Live")


def test_an_experiment_page_is_dark_where_the_system_or_the_reader_wants_it(browser: Browser, base: str) -> None:
    """The theme follows the system until the button says otherwise, and is kept over a reload."""
    light = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) > 128"
    with Tab.opened(browser, base, viewport=DESKTOP, color_scheme="dark") as tab:
        page = tab.page
        page.goto(MAIN)
        assert not page.evaluate(light)
        button = page.get_by_role("button", name="Theme")
        button.focus()
        page.keyboard.press("Enter")
        expect(button).to_have_text("Theme: light")
        assert page.evaluate(light)
        page.reload()
        assert page.evaluate(light)
        expect(button).to_have_text("Theme: light")
        page.keyboard.press("Tab")
        assert tab.complaints == []


def test_an_experiment_chart_is_drawn_in_both_themes(tab: Tab) -> None:
    """The canvas holds more than one colour, other ones after the theme has changed, and words tell the same."""
    page = tab.page
    page.emulate_media(color_scheme="light")
    page.goto(MAIN)
    page.locator("#chart canvas").scroll_into_view_if_needed()
    picture = "document.querySelector('#chart canvas').toDataURL()"
    colours = """(() => {
        const c = document.querySelector('#chart canvas');
        const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
        return new Set(data).size;
    })()"""
    assert page.evaluate(colours) > 20
    page.locator("#chart .u-over").hover()
    expect(page.locator("#chart-hover")).to_contain_text("Before 2026-11-02")
    before = page.evaluate(picture)
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(picture) != before
    expect(page.locator("#timeline-text")).to_contain_text("and is 53.4 % (51.6 to 55.2) now")


def test_an_experiment_page_runs_no_text_from_outside(tab: Tab) -> None:
    """Tags in names and reasons are words, what turns a line round is written out, and a long word stays inside."""
    page = tab.page
    page.goto(page_of(made.hostile().experiment_id))
    assert "taken" not in page.title().replace("document.title = 'taken'", "")
    words = page.locator("main").inner_text()
    assert all(text in words for text in made.HOSTILE[:2])
    assert "⟨U+202E⟩gnp.exe⟨U+2066⟩" in words
    assert page.locator("main img, main script").count() == 0
    assert tab.overflow() == 0


def test_the_policy_of_an_experiment_page_is_enforced(browser: Browser, base: str) -> None:
    """Were a tag to slip through, the browser would still run no inline script and load nothing from elsewhere."""
    with Tab.opened(browser, base) as tab:
        tab.page.goto("/")
        # `evaluate` waits for ever: without a policy nothing is refused, and the promise must end all the same.
        refused = tab.page.evaluate("""() => new Promise((done) => {
            const refused = [];
            setTimeout(() => done(refused), 5_000);
            document.addEventListener('securitypolicyviolation', (event) => {
                refused.push(event.effectiveDirective);
                if (refused.length === 2) done(refused.sort());
            });
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            const image = document.createElement('img');
            image.src = 'https://example.org/x.png';
            document.body.append(script, image);
        })""")
        assert refused == ["img-src", "script-src-elem"]
        assert tab.page.evaluate("window.ran") is None


def test_an_experiment_page_is_whole_without_scripts(browser: Browser, base: str) -> None:
    """Verdict, tables, reasons and the figures of the chart are there; what only scripts do is not offered."""
    with Tab.opened(browser, base, viewport=DESKTOP, java_script_enabled=False) as tab:
        page = tab.page
        page.goto(MAIN)
        expect(page.locator("#said")).to_contain_text(HEADLINES[Verdict.CANDIDATE_PREFERRED])
        expect(page.get_by_text("The chart needs JavaScript")).to_be_visible()
        page.locator("#points summary").click()
        expect(page.locator("#chart-table tbody tr").last).to_contain_text("53.4 %")
        expect(page.locator("#wins details").first).to_contain_text("A new title by a director")
        for name in ("Theme", "Pause updates"):
            expect(page.get_by_role("button", name=name)).to_be_hidden()


def test_an_experiment_page_with_a_token_is_opened_by_its_form(browser: Browser, source: made.Changing) -> None:
    """One comes to the page that was asked for, and the token stands in no address."""
    with serving(source, token="s3cret") as base, Tab.opened(browser, base) as tab:  # noqa: S106 - it guards nothing
        page = tab.page
        addresses: list[str] = []
        page.on("framenavigated", lambda frame: addresses.append(frame.url))
        page.goto("/experiments/waits")
        expect(page).to_have_title("Token · Mirrorstream")
        assert tab.violations() == []
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("Wrong token.")
        page.get_by_label("Token").fill("s3cret")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text(HEADLINES[Verdict.KEEP_RUNNING])
        assert page.url == f"{base}/experiments/waits"
        assert not any("s3cret" in each for each in addresses)


def test_experiments_are_served_until_interrupted(tmp_path: Path) -> None:
    """One line names the address; SIGINT ends it with exit status 0 and not a word more."""
    program = (
        "from tests.support.experiment import page_examples as made; from worker.experiment.page.serving import serve\n"
    )
    program += "serve(made.Changing(made.report()), host='127.0.0.1', port=0)"
    here = Path(made.__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(here)}, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Experiments at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert (process.stdout.read(), process.wait(patience(WAIT_MS / 1000))) == ("", 0)


def test_the_readouts_of_these_tests_are_of_every_verdict() -> None:
    """What is looked at here is not one lucky case."""
    readouts: tuple[Readout, ...] = START.readouts
    seen = {one.verdict for readout in readouts for one in readout.current.comparisons}
    assert seen == set(Verdict) - {Verdict.NO_DIFFERENCE}
