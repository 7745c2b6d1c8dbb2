"""One server over the loopback that answers as no vLLM would; what is passed on of it, and what is kept back."""

import asyncio
import gzip
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from worker.core.errors import BadSettings, Retryable, Withdrawn
from worker.core.service_requests import Unwatched
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Status
from worker.engines.remote import client, completions_api, vllm_server
from worker.engines.remote.client import MAX_BYTES, Server, Unanswered, Unreachable
from worker.engines.remote.fleet import Fleet, _Past
from worker.settings import load

TOKEN = "token-of-this-test"  # noqa: S105 - of a server that lives as long as it does
BODY = completions_api.params(max_tokens=1, temperature=0.0, logprob_token_ids=[32], output_kind=None)
Say = Callable[[str], bytes]


def http(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def completion(**choice: Any) -> bytes:
    return json.dumps({"choices": [{"text": "A", "token_ids": [32], **choice}]}).encode()


@asynccontextmanager
async def saying(say: bytes | Say, *, token: str | None = TOKEN) -> AsyncIterator[Server]:
    """Give a server that says this to every request, or makes it of the request's head; b"" is silence."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(1 << 16)
        said = say if isinstance(say, bytes) else say(head.decode())
        if not said:
            await reader.read()
        writer.write(said)
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", token)
    try:
        yield server
    finally:
        await server.close()
        listener.close()


# -- what cannot be its answer


@pytest.mark.parametrize("wrong", [{}, {"logprobs": {"top_logprobs": [{"token_id:32": math.inf}]}}])
async def test_letters_that_cannot_be_read_may_be_asked_of_another(wrong: dict[str, Any]) -> None:
    async with saying(http(completion(**wrong))) as server:
        with pytest.raises(Unanswered, match="cannot be read") as caught:
            await server.complete(BODY, {})
    assert caught.value.begun
    assert server.heard_s == -math.inf


async def test_an_answer_beyond_all_measure_is_not_taken_to_its_end() -> None:
    async with saying(http(b" " * (MAX_BYTES + 1))) as server:
        with pytest.raises(Unanswered, match="more than 4 MiB"):
            await server.complete(BODY, {})


async def test_an_answer_that_is_packed_is_neither_asked_for_nor_unpacked() -> None:
    heads: list[str] = []
    good = completion(logprobs={"top_logprobs": [{"token_id:32": -0.1}]})

    def say(head: str) -> bytes:
        heads.append(head)
        return http(gzip.compress(good), "200 OK", "content-encoding: gzip")

    async with saying(say) as server:
        with pytest.raises(Unanswered, match="tells no completion"):
            await server.complete(BODY, {})
    assert "accept-encoding: identity\r\n" in heads[0].lower()
    async with saying(http(good)) as server:
        assert (await server.complete(BODY, {})).choices[0].text == "A"


# -- its version


async def test_a_version_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "VERSION_S", 0.1)
    async with saying(b"") as server, asyncio.timeout(5.0):
        assert await server.version() == "unknown"


async def test_a_version_is_short_enough_to_stand_in_every_response() -> None:
    for version, expected in (("0.32.0", "0.32.0"), ("v" * 3_000_000, "unknown"), (f"v {TOKEN}", "v [token]")):
        async with saying(http(json.dumps({"version": version}).encode())) as server:
            assert await server.version() == expected


# -- the token


async def test_a_server_that_repeats_the_headers_as_its_answer_leaves_no_trace_of_them() -> None:
    async with saying(http(json.dumps({"choices": [], "data": f"Bearer {TOKEN}"}).encode())) as server:
        for call in (server.models(), server.complete(BODY, {})):
            with pytest.raises(Unanswered) as caught:
                await call
            assert TOKEN not in "".join(format_exception(caught.value))


async def test_a_server_that_repeats_the_headers_brings_the_token_into_no_message() -> None:
    async with saying(lambda head: http(head.encode(), "400 No")) as server:
        with pytest.raises(ValueError, match=r"Bearer \[token\]") as caught:
            await server.complete(BODY, {})
    assert TOKEN not in str(caught.value)


async def test_what_a_server_says_is_one_line_that_moves_no_terminal() -> None:
    """Its version goes into every response, its reasons into the log."""
    forged = "0.32\n2026-11-29 ERROR all is lost\r\x1b[2J\u202e"
    line = "0.32 2026-11-29 ERROR all is lost \ufffd[2J\ufffd"
    async with saying(http(json.dumps({"version": forged}).encode())) as server:
        assert await server.version() == line
    async with saying(http(forged.encode(), "400 Bad Request")) as server:
        with pytest.raises(ValueError, match="HTTP 400") as caught:
            await server.complete(BODY, {})
        assert str(caught.value) == f"HTTP 400: {line}"
    async with saying(http(json.dumps({"data": [{"id": "m", "root": forged}]}).encode())) as server:
        await server.models()
        assert server.loaded == {"m": line}


@pytest.mark.parametrize(
    "content", ["sekr\u00e9t".encode(), b"sekr\xff\xfet", b"\xef\xbb\xbfsekret", b"sekret\nmore", b"sekret\x00"]
)
def test_a_token_that_no_header_can_carry_is_a_bad_setting(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(BadSettings, match=f"server_auth_file: {tmp_path}/token: .*want a file") as caught:
        vllm_server._token(tmp_path / "token")
    assert "sekr" not in str(caught.value)


def test_blanks_and_line_ends_around_a_token_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b" sekret~1/+=\r\n")
    assert vllm_server._token(tmp_path / "token") == "sekret~1/+="


# -- where it is


@pytest.mark.parametrize("url", ["http://gpu-1:99999", "http://gpu-1:0", "http://gpu-1:port", "http://[::1"])
def test_an_address_that_is_none_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadSettings, match=r"server_urls: http://.*port"):
        Server(url, None)


async def test_why_there_is_no_connection_is_told() -> None:
    async with saying(http(b"")) as plain:
        for url, why in (
            (plain.url.replace("http", "https"), "SSL"),
            ("http://no-such-host.invalid:1", "[Nn]ame"),
        ):
            other = Server(url, None)
            with pytest.raises(Unreachable, match=rf"no connection \(ConnectError: .*{why}"):
                await other.models()
            await other.close()


async def test_a_proxy_of_the_environment_is_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bearer token would go to it."""
    models = http(b'{"data": [{"id": "m"}]}')
    async with saying(http(b"", "502 Proxy")) as proxy, saying(models) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        far, near = Server("http://gpu-1:8000", None), Server(server.url, TOKEN)
        assert await near.models() == {"m": None}
        with pytest.raises(Unanswered, match="HTTP 502"):
            await far.models()
        await far.close()
        await near.close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "foo://x"])
def test_a_proxy_that_cannot_be_used_is_a_bad_setting(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(BadSettings, match="http://gpu-1:8000: the environment names a proxy"):
        Server("http://gpu-1:8000", None)
    for url in ("http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost:8000"):
        Server(url, None)


# -- when to ask again


@pytest.mark.parametrize(
    ("told", "expected"), [("7", 7.0), ("0", 0.0), ("-7", 0.0), ("soon", 0.0), ("\u00b2", 0.0), ("9" * 400, math.inf)]
)
async def test_a_busy_server_may_say_when_to_ask_again(told: str, expected: float) -> None:
    async with saying(lambda _: http(b"", "429 Busy", f"retry-after: {told}")) as server:
        with pytest.raises(Unanswered, match="HTTP 429") as caught:
            await server.complete(BODY, {})
    assert (caught.value.begun, caught.value.after_s) == (False, expected)


# -- the look, and the test at start


class Engine(vllm_server.VllmServerEngine):
    """Without a tokenizer: what it asks has no prompt."""

    def __init__(self) -> None:
        settings = load(None, {"engine": "vllm-server", "server_urls": "http://gpu-1:8000", "mode": "direct"})
        self._settings = settings
        self._passes: Any = self
        self.num_tests = 0

    def letters(self, num_slots: int) -> dict[str, Any]:
        return completions_api.params(
            max_tokens=1, temperature=0.0, logprob_token_ids=list(range(num_slots)), output_kind=None
        )

    def _probe_ids(self) -> tuple[int, ...]:
        return (1,)

    async def _choose(self, ask: Ask, ids: Any, drawn: Drawn) -> Drawn:
        return drawn

    async def _self_test(self) -> None:
        self.num_tests += 1
        if self.num_tests < self.answered:
            await asyncio.Event().wait()

    answered = 1


@pytest.mark.parametrize("wrong", [math.inf, math.nan, 12.5])
async def test_a_look_sees_that_letters_have_probabilities(wrong: float) -> None:
    """As a server of `--logprobs-mode raw_logits` has none."""
    told = dict.fromkeys(vllm_server.LETTERS, -5.0)
    for step, fine in ((told, True), ({**told, "A": wrong}, False)):
        async with saying(http(completion(logprobs={"top_logprobs": [step]}))) as server:
            if fine:
                await Engine()._look_at_letters(server)
            else:
                with pytest.raises(Unanswered, match="letter probabilities that are none"):
                    await Engine()._look_at_letters(server)


async def test_a_server_that_refuses_a_priority_is_told_of_with_what_to_do() -> None:
    engine = Engine()
    engine._settings = engine._settings.model_copy(update={"server_priority": 10})
    refusal = http(b"Got priority 10 but Priority scheduling is not enabled.", "400 Bad Request")
    async with saying(refusal) as server:
        with pytest.raises(
            BadSettings, match=r"refuses server_priority 10: .*start it with --scheduling-policy priority"
        ):
            await engine._look_at_letters(server)


def test_no_priority_is_sent_unless_it_is_set() -> None:
    engine = Engine()
    assert engine._priority() == {}
    engine._settings = engine._settings.model_copy(update={"server_priority": 0})
    assert engine._priority() == {"priority": 0}


async def test_a_start_waits_for_its_self_test_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "SELF_TEST_S", 0.05)
    engine = Engine()
    engine.answered = 2
    async with asyncio.timeout(5.0):
        await engine._test()
        engine.num_tests, engine.answered = 0, 3
        with pytest.raises(Retryable, match="no answer to the self-test"):
            await engine._test()


async def test_what_servers_did_to_a_draw_is_forgotten_once_it_has_an_answer() -> None:
    engine = Engine()
    engine._fleet = Fleet([], engine._look, Unwatched())
    engine._fleet._pasts = {"ask": _Past(), "other": _Past()}
    await engine.draw(Ask("ask", None, None, (0, 1)))  # type: ignore[arg-type]
    assert list(engine._fleet._pasts) == ["other"]


class Withdrawing(Engine):
    """Withdraws the first draw."""

    num_draws = 0

    async def _choose(self, *_: object) -> Drawn:
        self.num_draws += 1
        if self.num_draws == 1:
            raise Withdrawn("left to others")
        return Drawn(Status.OK)


async def test_a_draw_that_nobody_admitted_waits_for_a_seat_again_by_itself() -> None:
    """Whoever asks without the worker's loop, such as `evaluate`, must not see it withdrawn."""
    engine = Withdrawing()
    engine._fleet = Fleet([], engine._look, Unwatched())
    assert (await engine.draw(Ask("ask", None, None, (0, 1)))).status is Status.OK  # type: ignore[arg-type]
    assert engine.num_draws == 2


# -- wrong addresses


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            http(b"not found", "404 Not Found"),
            r"^HTTP 404 for http://127\.0\.0\.1:\d+/v1/models; want the address",
        ),
        (
            http(b"", "308 Permanent Redirect", "location: https://gpu-1.example/v1/models"),
            r"^HTTP 308 for /v1/models, which redirects to https://gpu-1\.example/v1/models: set server_urls to that",
        ),
        (http(b"Client sent an HTTP request to an HTTPS server.", "400 Bad Request"), r"perhaps https://\?$"),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"^connection lost \(RemoteProtocolError\); perhaps https://\?$"),
        (http(b"<html>a page</html>"), "^tells no models at /v1/models, as something else would$"),
    ],
    ids=["path", "redirect", "proxy before TLS", "TLS alone", "a page"],
)
async def test_a_wrong_address_says_what_was_asked_and_what_may_be_meant(said: bytes, why: str) -> None:
    async with saying(said) as server:
        with pytest.raises(Unanswered, match=why):
            await server.models()


async def test_tls_to_a_plain_server_is_perhaps_http() -> None:
    async with saying(http(b"{}", "400 Bad Request")) as plain:
        server = Server(plain.url.replace("http:", "https:"), None)
        with pytest.raises(Unreachable, match=r"WRONG_VERSION_NUMBER.*; perhaps http://\?$"):
            await server.models()
        await server.close()


async def test_a_model_under_another_name_is_told_with_what_to_set() -> None:
    models = {"data": [{"id": "alias", "root": "/models/mine"}, {"id": "other", "root": "/models/other"}]}
    engine = vllm_server.make(load(None, {"engine": "vllm-server", "server_urls": "http://x", "model": "/models/mine"}))
    async with saying(http(json.dumps(models).encode())) as server:
        with pytest.raises(BadSettings, match=r"set model=alias and tokenizer=/models/mine$"):
            await engine._look(server)


# -- metrics


async def test_metrics_are_asked_with_the_token_and_no_redirect_is_followed() -> None:
    heads: list[str] = []

    def say(head: str) -> bytes:
        heads.append(head)
        if len(heads) == 1:
            return http(b"vllm:num_requests_waiting 1\n")
        return http(b"", "302 Found\r\nlocation: http://127.0.0.1:9/metrics")

    async with saying(say) as server:
        assert await server.metrics() == "vllm:num_requests_waiting 1\n"
        with pytest.raises(Unanswered, match="HTTP 302 for /metrics, which redirects"):
            await server.metrics()
    assert [head.splitlines()[0] for head in heads] == ["GET /metrics HTTP/1.1"] * 2
    assert all(f"authorization: bearer {TOKEN}".lower() in head.lower() for head in heads)
