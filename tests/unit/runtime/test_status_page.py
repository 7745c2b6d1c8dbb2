"""The page `/` of a worker: in words, without secrets, and harmless whatever its texts hold."""

import logging
import time
from typing import Any

import pytest

from worker.core.blockers import Blocker
from worker.core.simulation.draws import EngineCard
from worker.runtime import logs, remarkable
from worker.runtime.health_state import HealthState
from worker.runtime.remarkable import Remark, Remarkable
from worker.runtime.status_page import Figures, StatusPage
from worker.settings import load

CARD = EngineCard("vllm", "0.33.0", "mirror-tiny", None, {}, reads_prompt=True)
FIGURES: Figures = {
    "mirrorstream_assigned_partitions": [12.0],
    "mirrorstream_lag_records": [3.0, 4.0],
    "mirrorstream_lag_seconds": [75.0, 2.0],
    "mirrorstream_drain_seconds": [float("inf")],
    "mirrorstream_responses_total": [5.0, 6.0],
}


def page_of(state: HealthState, *remarks: Remark, **settings: Any) -> str:
    page = StatusPage(
        load(None).model_copy(update=settings), lambda: CARD, state, figures=lambda: FIGURES, remarks=lambda: remarks
    )
    return page.html()


def working(**blockers: str) -> HealthState:
    state = HealthState()
    state.works(live=str, blockers=lambda: {Blocker(name): why for name, why in blockers.items()}, accept=str)
    return state


# -- what it says


def test_it_says_what_the_worker_does_and_how_far_behind_it_is() -> None:
    html = page_of(working())
    assert "mirror-tiny on vllm 0.33.0" in html
    assert "Ready: it answers impressions." in html
    assert "Waits for" not in html
    for text in ("12 assigned", "7 records, the oldest of 1 min 15 s ago", ">unknown<", "11 responses"):
        assert text in html, text


@pytest.mark.parametrize("blocker", list(Blocker))
def test_it_says_what_an_unready_worker_waits_for(blocker: Blocker) -> None:
    html = page_of(working(**{blocker: "the reason in words"}))
    assert "Not ready." in html
    assert "Waits for" in html
    assert "the reason in words" in html


def test_it_is_there_while_the_engine_loads_and_when_the_worker_is_stuck() -> None:
    assert "the engine is loading" in page_of(HealthState())
    state = working()
    state.works(live=lambda: "the poll thread has made no progress", blockers=dict, accept=str)
    assert "Not alive: the poll thread has made no progress" in page_of(state)


def test_the_last_remarkable_things_are_told_with_their_time() -> None:
    html = page_of(working(), Remark(time.time() - 75.0, "warning", "the engine died", 3))
    assert "1 min 15 s ago" in html
    assert "<td>warning</td><td>the engine died (3 like it)</td>" in html


def test_what_was_set_stands_before_what_was_not() -> None:
    html = page_of(working(), group_id="shadow", draws=4)
    assert html.index("<th>group_id</th><td>shadow</td><td></td>") < html.index("<th>batch_max_records</th>")


# -- what it must not say


def test_no_secret_is_on_the_page() -> None:
    secret = "S3CRET"  # noqa: S105 - what must not be told
    html = page_of(
        working(schema=f"registry http://me:{secret}@registry:8081 does not answer"),
        Remark(0.0, "warning", "x", 1),
        kafka_options={"sasl.username": secret, "sasl.password": secret},
        sample_salt=secret,
        vllm_options={"hf_token": secret},
        server_urls=[f"http://me:{secret}@gpu:8000"],
    )
    assert secret not in html
    assert "sasl.password" in html, "that it is set may be known"
    assert "http://***@registry:8081" in html


def test_foreign_texts_cannot_become_markup() -> None:
    script = "<script>alert(1)</script>"
    html = page_of(working(schema=script), Remark(0.0, "warning", script, 1), group_id=script)
    assert script not in html
    assert html.count("&lt;script&gt;") == 3


# -- what is remarkable


def a_logger(handler: Remarkable) -> logging.Logger:
    logger = logging.Logger("worker.test")  # noqa: LOG001 - of this test alone
    logger.addHandler(handler)
    return logger


def test_lines_of_one_kind_are_one_remark_and_the_newest_kinds_stay() -> None:
    handler = Remarkable()
    logger = a_logger(handler)
    logger.warning("the engine died")
    for offset in range(1_000):
        logger.warning("impressions[0]@%d: dead-lettered", offset)
    assert [(one.text, one.number) for one in handler.newest()] == [
        ("impressions[0]@999: dead-lettered", 1_000),
        ("the engine died", 1),
    ]
    for number in range(20):
        logger.info(f"kind {number}")  # noqa: G004 - kinds of their own
    assert [one.text for one in handler.newest()] == [f"kind {number}" for number in range(19, 9, -1)]


def test_remarks_hold_no_secret_that_the_log_does_not_hold() -> None:
    handler = Remarkable(logs.cleaner(["S3CRET-of-a-file"]))
    a_logger(handler).error("SASL with %s failed", "S3CRET-of-a-file")
    assert [one.text for one in handler.newest()] == ["SASL with *** failed"]


def test_a_line_that_cannot_be_formatted_is_no_error_of_whoever_logs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = Remarkable()
    a_logger(handler).error("%d records", "no")
    assert handler.newest() == []


def test_remarks_hold_no_password_no_traceback_and_no_debug_line() -> None:
    handler = Remarkable()
    logger = a_logger(handler)
    logger.debug("nothing to remark")
    logger.error("http://me:S3CRET@registry does not answer\nTraceback: S3CRET %s", "x" * 1_000)
    (one,) = handler.newest()
    assert one.text == "http://***@registry does not answer"
    logger.error("y" * 1_000)
    assert len(handler.newest()[0].text) == remarkable.MAX_CHARS
