"""A real `vllm serve` asked over HTTP: exact letters, servers that come and go, and a worker that waits for them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import impression
from tests.support.harness import WAIT_S, Stage, Tell, send
from tests.support.judge import Judge
from tests.support.patience import patience
from tests.support.served import Served, Switch, free_port
from worker.cli import check
from worker.core.errors import EngineDead, Fatal, Retryable
from worker.core.simulation.draws import Ask
from worker.core.simulation.questions import Status
from worker.engines.local.vllm import VllmEngine
from worker.engines.remote import fleet
from worker.engines.remote.client import Server, Unanswered, Unreachable
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.settings import Settings, prompt_profiles

from .test_engines import FORM, asks_of, in_form, some_impressions, until

NUM_EVENTS = 12


def engine_of(settings: Settings, **changes: Any) -> VllmServerEngine:
    return VllmServerEngine(settings.model_copy(update=changes), prompt_profiles.load(settings.prompt_profile))


@asynccontextmanager
async def started(settings: Settings, **changes: Any) -> AsyncIterator[VllmServerEngine]:
    engine = engine_of(settings, **changes)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def some_asks(engine: VllmServerEngine | VllmEngine, settings: Settings, num_impressions: int = 4) -> list[Ask]:
    return [ask for one in some_impressions(num_impressions) for ask in asks_of(one, engine, settings)]


# -- what it says


async def test_letters_over_http_are_those_of_vllm_in_process(
    vllm_engine: VllmEngine, server_engine: VllmServerEngine, vllm_settings: Settings
) -> None:
    here, there = in_form(vllm_engine, mode="direct"), in_form(server_engine, mode="direct")
    for ask in some_asks(server_engine, vllm_settings):
        first, second = await here.draw(ask), await there.draw(ask)
        assert second.slot_probabilities == pytest.approx(first.slot_probabilities, abs=FORM)
        assert second.letter_mass == pytest.approx(first.letter_mass, abs=FORM)


async def test_it_says_who_answers_and_what_the_prompt_may_have(
    vllm_engine: VllmEngine, server_engine: VllmServerEngine, vllm_settings: Settings
) -> None:
    ours, theirs = server_engine.card, vllm_engine.card
    assert (ours.engine, ours.engine_version) == ("vllm-server", theirs.engine_version)
    assert (ours.model, ours.max_prompt_tokens) == (theirs.model, theirs.max_prompt_tokens)
    untold = {"batch_invariant": "false", "weights": theirs.sampling["weights"]}  # by a server
    assert {**ours.sampling, **untold} == theirs.sampling
    assert theirs.runs == {"dtype": "bfloat16"}  # as mirror-tiny was made: told, and no other fingerprint
    assert ours.runs["served_from"].endswith("mirror-tiny")
    drawn = await server_engine.draw(some_asks(server_engine, vllm_settings)[0])
    again = await server_engine.draw(some_asks(server_engine, vllm_settings)[0])
    assert drawn.usage.prompt_tokens == again.usage.prompt_tokens > again.usage.cached_tokens > 0


async def test_a_prompt_that_no_server_can_take_is_an_error_of_that_question_alone(
    server_engine: VllmServerEngine, vllm_settings: Settings
) -> None:
    ask, other = some_asks(server_engine, vllm_settings)[:2]
    too_long = Ask(ask.ask_id, ask.impression, ask.question, ask.order, ask.prompt_ids * 20)
    with pytest.raises(ValueError, match="HTTP 400"):
        await server_engine.draw(too_long)
    assert set(server_engine.why_not.values()) == {""}
    assert (await server_engine.draw(other)).status is Status.OK


async def test_a_cancelled_draw_is_aborted_on_the_server(
    served: Served, server_engine: VllmServerEngine, vllm_settings: Settings
) -> None:
    asks = some_asks(server_engine, vllm_settings)
    draws = [asyncio.create_task(server_engine.draw(ask)) for ask in asks]
    await until_there(lambda: served.num_requests() >= len(asks) / 2, "requests on the server")
    for draw in draws:
        draw.cancel()
    await asyncio.wait(draws)
    await until_there(lambda: served.num_requests() == 0, "no request on the server")
    assert (await server_engine.draw(asks[0])).status is Status.OK


# -- who is asked


async def test_one_that_refuses_connections_is_not_missed(
    served: Served, server_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with started(server_settings, server_urls=[gone, f"{served.url}/v1/"]) as engine:
        drawn = await asyncio.gather(*map(engine.draw, some_asks(engine, server_settings)))
        assert {one.status for one in drawn} == {Status.OK}
        assert engine.why_not[served.url] == ""
        assert "no connection" in engine.why_not[gone]
    assert gone in caplog.text


async def test_what_one_server_had_when_it_went_another_answers(
    served: Served, server_settings: Settings, tell: Tell
) -> None:
    async with Switch(served.port) as switch, started(server_settings, server_urls=[served.url, switch.url]) as engine:
        draws = [asyncio.create_task(engine.draw(ask)) for ask in some_asks(engine, server_settings)]
        await until(lambda: num_pending(engine, switch.url) > 0, "requests behind the switch")
        await switch.close()
        gone_s = time.monotonic()
        assert {(await draw).status for draw in draws} == {Status.OK}
        tell("one of two servers away, until another has answered all that it had", time.monotonic() - gone_s)
        assert engine.why_not[switch.url]
        await switch.open()
        await until(lambda: not engine.why_not[switch.url], "server that is asked again")


async def test_one_that_is_silent_is_found_out(
    served: Served, server_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Switch(served.port) as switch, started(server_settings, server_urls=[served.url, switch.url]) as engine:
        monkeypatch.setattr(fleet, "LOOK_S", 5.0)
        monkeypatch.setattr(fleet, "EVERY_S", 1.0)
        switch.be_silent()
        asks = some_asks(engine, server_settings, num_impressions=8)
        async with asyncio.timeout(patience(WAIT_S)):
            drawn = await asyncio.gather(*map(engine.draw, asks))
        assert {one.status for one in drawn} == {Status.OK}
        assert engine.why_not[switch.url]


async def test_without_any_a_draw_is_to_be_tried_again_and_a_probe_tells_when(
    served: Served, server_settings: Settings
) -> None:
    async with Switch(served.port) as switch:
        async with started(server_settings, server_urls=[switch.url]) as engine:
            ask = some_asks(engine, server_settings)[0]
            await switch.close()
            for call in (engine.draw(ask), engine.probe()):
                with pytest.raises(Retryable, match=f"{switch.url}: no connection"):
                    await call
            await switch.open()
            await engine.probe()
            assert (await engine.draw(ask)).status is Status.OK
        with pytest.raises(EngineDead):
            await engine.draw(ask)


# -- what does not start


async def test_nobody_there_is_to_be_tried_again(server_settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    engine = engine_of(server_settings, server_urls=[url])
    with pytest.raises(Retryable, match=f"{url}: no connection"):
        await engine.start()
    assert engine.why_not == {}


async def test_without_the_token_it_waits_and_says_where_that_comes_from(
    served: Served, server_settings: Settings
) -> None:
    with pytest.raises(Retryable, match="HTTP 401, see server_auth_file"):
        await engine_of(server_settings, server_auth_file=None).start()
    with pytest.raises(Fatal, match="server_auth_file: /no/such/file"):
        await engine_of(server_settings, server_auth_file=Path("/no/such/file")).start()


async def test_another_model_is_refused(served: Served, server_settings: Settings, tmp_path: Path) -> None:
    """Of the same folder, but not by the name that it is served under."""
    from worker.engines.model_files import TINY, model_path

    (tmp_path / "other").symlink_to(model_path(TINY))
    with pytest.raises(Fatal, match=f"serves {TINY}, want {tmp_path}/other: start it with --served-model-name"):
        await engine_of(server_settings, model=str(tmp_path / "other")).start()


async def test_check_tells_of_each_server(served: Served, server_settings: Settings) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    for urls, expected in (
        ([served.url, gone], [("engine", True), (f"server {served.url}", True), (f"server {gone}", True)]),
        ([gone], [("engine", False)]),
    ):
        settings = server_settings.model_copy(update={"server_urls": urls})
        results = await check._engine(settings, position_profile=False)
        assert [(one.what, one.ok) for one in results] == expected
        assert f"{gone}: no connection" in results[-1].detail or results[-1].warning


# -- why a server did not answer


@pytest.mark.parametrize(
    ("status", "begun"), [("429", False), ("503", False), ("500", True), ("502", True), ("504", True), ("307", True)]
)
async def test_what_is_no_answer_may_be_asked_of_another(status: str, *, begun: bool) -> None:
    async with failing(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode()) as server:
        with pytest.raises(Unanswered, match=f"HTTP {status}") as caught:
            await server.complete({"prompt": [1]}, {})
        assert caught.value.begun is begun


async def test_a_connection_that_is_lost_may_have_been_the_end_of_the_server() -> None:
    async with failing(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{") as server:
        with pytest.raises(Unanswered, match="connection lost") as caught:
            await server.complete({"prompt": [1]}, {})
        assert caught.value.begun
    with pytest.raises(Unreachable):
        await Server(f"http://127.0.0.1:{free_port()}", None).models()


@pytest.mark.parametrize("status", ["400", "413", "422"])
async def test_a_question_that_is_refused_is_asked_of_nobody_else(status: str) -> None:
    async with failing(f"HTTP/1.1 {status} No\r\ncontent-length: 3\r\n\r\nwhy".encode()) as server:
        with pytest.raises(ValueError, match=f"HTTP {status}: why"):
            await server.complete({"prompt": [1]}, {})


# -- a worker


@pytest.mark.long
async def test_a_worker_waits_for_its_server_and_loses_nothing(
    stage: Stage, judge: Judge, served: Served, server_settings: Settings, tell: Tell
) -> None:
    """Away before the start, away with draws in it: never dead, never suspected, and ready again by itself."""
    stage.create(partitions=2)
    async with Switch(served.port) as switch:
        await switch.close()
        changes = {
            "engine": "vllm-server", "server_urls": switch.url, "max_tokens": 160, "question_timeout_s": 20,
            "server_auth_file": str(server_settings.server_auth_file),
        }  # fmt: skip
        with stage.worker(**changes) as worker:

            async def see(condition: Callable[[], bool], what: str) -> None:
                await asyncio.to_thread(worker.until, condition, what, timeout_s=patience(2 * WAIT_S))

            await see(lambda: "no connection" in worker.page("/readyz")[1], "worker that says what it waits for")
            assert worker.page("/startupz") == (200, "ok\n")  # a restart would not bring the servers back
            await switch.open()
            await asyncio.to_thread(worker.until_ready)
            await asyncio.to_thread(send, stage, map(impression, range(NUM_EVENTS)))
            await see(lambda: worker.metric("responses_total") > 0, "first response")
            await switch.close()
            await see(lambda: "cannot be reached" in worker.page("/readyz")[1], "worker that is not ready")
            await see(lambda: worker.metric("paused_partitions") == 2, "paused partitions")
            assert worker.page("/livez")[0] == 200
            await asyncio.sleep(5)
            num_before = worker.metric("responses_total")
            await switch.open()
            back_s = time.monotonic()
            await see(lambda: worker.metric("responses_total") > num_before, "response again")
            tell("all servers away, after one is back", time.monotonic() - back_s)
            await see(judge.all_committed, "commit up to the ends")
            await see(lambda: worker.page("/readyz")[0] == 200, "ready worker")
            assert worker.metric("engine_deaths_total") == worker.metric("dead_letters_total") == 0
            assert await asyncio.to_thread(worker.stop) == 0
    judge.verdict().assert_exactly_once()
    answers = judge.answers()
    assert {answer["status"] for answer in answers} == {"OK"}
    assert {answer["provenance"]["engine"] for answer in answers} == {"vllm-server"}


async def until_there(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that the server is asked in a thread, since the loop has requests to send."""
    deadline_s = time.monotonic() + patience(WAIT_S)
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline_s, f"no {what}"


def num_pending(engine: VllmServerEngine, url: str) -> int:
    assert engine._fleet is not None
    return engine._fleet._servers[url].num_pending


@asynccontextmanager
async def failing(answer: bytes) -> AsyncIterator[Server]:
    """Give a server that says this to every request and hangs up."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(say, "127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None)
    try:
        yield server
    finally:
        await server.close()
        listener.close()
