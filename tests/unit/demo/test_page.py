"""The demo's page: items by their titles, and whether somebody looks at it."""

import pytest

from tests.support.clock import Clock
from tests.support.experiment import page_examples as made
from worker.demo import page as demo
from worker.demo.page import Titled, Watched, noting


async def nothing(*_: object) -> None:
    """Answer nothing."""


def test_items_have_their_titles_and_what_has_none_its_id() -> None:
    source = made.Changing(made.report(made.readout()))
    names = {"a-1-0": "Silent Harbour (1994)"}
    titled = Titled(source, names)
    [first, *_] = titled.report().readouts[0].current.comparisons[0].wins
    assert [option.item_id for option in first.options][:2] == ["Silent Harbour (1994)", "a-1-1"]
    names["a-1-1"] = "Iron Road (2001)"  # it was sent only now
    [first, *_] = titled.report().readouts[0].current.comparisons[0].wins
    assert first.options[1].item_id == "Iron Road (2001)"


def test_nothing_but_the_names_of_items_is_changed() -> None:
    source = made.Changing(made.report(made.readout(), made.hostile()))
    titled = Titled(source, {})
    assert titled.report() == source.report()
    source.change(made.report())
    assert (titled.version(), titled.report()) == (2, source.report())


async def test_a_page_is_looked_at_for_a_while_after_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(demo, "time", clock)
    page = Watched("http://127.0.0.1:1/")
    assert not page.is_looked_at
    await noting(page, nothing)({"type": "http"}, None, None)
    assert page.is_looked_at
    clock.sleep(demo.LOOKED_S + 1)
    assert not page.is_looked_at
