"""The demo's page: whether somebody looks at it."""

import pytest

from tests.support.clock import Clock
from worker.demo import page as demo
from worker.demo.page import Watched, noting


async def nothing(*_: object) -> None:
    """Answer nothing."""


async def test_a_page_is_looked_at_for_a_while_after_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(demo, "time", clock)
    page = Watched("http://127.0.0.1:1/")
    assert not page.is_looked_at
    await noting(page, nothing)({"type": "http"}, None, None)
    assert page.is_looked_at
    clock.sleep(demo.LOOKED_S + 1)
    assert not page.is_looked_at
