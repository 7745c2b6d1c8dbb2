"""The pages as one file: whole, linked within itself, asking nobody."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support.experiment import page_examples as made
from tests.support.experiment.page_client import Elements, client
from worker.experiment.page import document
from worker.experiment.readout import Report

AT_US = 1_790_000_000_000_000
OLDER = made.epoch(made.untrusted(), fingerprint="older", hour=9)
SEVERAL = made.readout("several", OLDER, made.epoch(made.losing(), made.comparison(candidate="ranker-9")))
REPORT = made.report(made.readout(), SEVERAL, made.hostile(), made.readout(None))


def written(report: Report = REPORT) -> Elements:
    """Return the file's elements."""
    return Elements(document.render(report, written_at=AT_US))


def test_an_experiment_file_leads_only_to_itself_and_every_link_arrives() -> None:
    """No id stands twice, each link and label finds its own, and nothing is loaded."""
    tags = written().tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    asked = [attrs[name] for _, attrs in tags for name in ("href", "src") if name in attrs]
    assert asked
    assert {link for link in asked if not (link or "").startswith("#")} == set()
    named = [
        attrs[name] or "" for _, attrs in tags for name in ("aria-labelledby", "aria-describedby") if name in attrs
    ]
    assert {link[1:] for link in asked if link} | {one for names in named for one in names.split()} <= set(ids)


def test_an_experiment_file_has_every_epoch_and_candidate_of_the_page() -> None:
    """One article each, the newest epoch first, whose links name the others."""
    views = [attrs["id"] for tag, attrs in written(made.report(made.readout(), SEVERAL)).tags if tag == "article"]
    assert views == ["x1-1-1-view", "x2-2-1-view", "x2-2-2-view", "x2-1-1-view"]
    links = {attrs.get("href") for tag, attrs in written().tags if tag == "a"}
    assert {"#x2-2-1-view", "#x2-2-2-view", "#x2-1-1-view"} <= links


def test_an_experiment_file_says_what_the_page_says() -> None:
    """The words of an experiment's main part are those of its page, but for when it was written."""
    alone = made.report(made.readout())
    page = Elements(client(made.readout()).get("/experiments/home-ranker-7").text).text
    start, end = page.index("Experiment home-ranker-7"), page.index("Figures from simulated users, not real ones.")
    assert page[start:end].replace(" Reload the page to update them.", "") in written(alone).text


def test_an_experiment_file_admits_its_own_scripts_alone() -> None:
    """The policy holds the digest of each script and style in it, and nothing that admits another."""
    text = document.render(REPORT, written_at=AT_US)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    parts = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    digests = {f"&#39;sha256-{b64encode(sha256(body.encode()).digest()).decode()}&#39;" for _, body in parts}
    assert len(parts) == 6
    assert set(re.findall(r"&#39;sha256-[^&]+&#39;", policy)) == digests
    assert policy.startswith("default-src &#39;none&#39;; ")
    assert "unsafe" not in policy


@pytest.mark.parametrize("words", made.HOSTILE)
def test_an_experiment_file_takes_no_text_for_a_tag(words: str) -> None:
    """Names and reasons with tags in them stay words."""
    assert "<" not in words or words not in document.render(REPORT, written_at=AT_US)


@pytest.mark.parametrize(
    "report", [Report(()), made.report(made.readout("empty", made.epoch()))], ids=["none", "empty"]
)
def test_an_experiment_file_of_nothing_yet_says_so(report: Report) -> None:
    """Without figures there is a page all the same."""
    assert "Figures from simulated users, not real ones." in written(report).text
