"""The page's server: connections that ask for nothing, ask half or read nothing are few and end."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn

from tests.support.experiment import page_examples as made
from tests.support.hanging_clients import KINDS, hanging
from tests.support.patience import patience
from worker.experiment.page import connections
from worker.experiment.page.serving import listen, server
from worker.experiment.page.tries import MAX_WRONG


@asynccontextmanager
async def serving(token: str | None = None) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """Serve in this loop."""
    with listen("127.0.0.1", 0) as listening:
        served = server(made.Changing(made.report()), token=token)
        served.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.ensure_future(served.serve(sockets=[listening]))
        try:
            yield served, listening.getsockname()[1]
        finally:
            served.should_exit = True
            await task


async def get(port: int, path: str = "/api/version", more: str = "X-More: none") -> bytes:
    async with asyncio.timeout(patience(5)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def get_in_the_end(port: int, path: str, num_tries: int = 5) -> bytes:
    for _ in range(num_tries):
        with suppress(ConnectionError):
            if answer := await get(port, path):
                return answer
        await asyncio.sleep(0.1)
    return b""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(patience(5)):
        while not holds():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.02)


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_a_forged_address_gives_no_further_tries_of_a_token() -> None:
    """Who is on this machine is believed no address: else each try would be another one's."""
    async with serving("secret-1") as (_, port):
        found = []
        for number in range(MAX_WRONG + 1):
            forged = f"X-Forwarded-For: 192.0.2.{number}\r\nAuthorization: Bearer guess-{number}"
            found.append((await get(port, more=forged)).split(b" ", 2)[1])
        assert found == [b"401"] * MAX_WRONG + [b"429"]


async def ended(reader: asyncio.StreamReader, *, within_s: float = 3.0) -> bool:
    async with asyncio.timeout(within_s):
        with suppress(ConnectionError):
            return b"HTTP" not in await reader.read()
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_many_connections_that_ask_for_nothing_leave_room(sent: bytes) -> None:
    async with serving() as (served, port):
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(sent)
                await asyncio.sleep(0)
            assert (await get(port)).startswith(b"HTTP/1.1 200")
            await until(lambda: len(served.server_state.connections) <= connections.MAX_CONNECTIONS)


# Those that end their half get their answers, and ask again: they hold nothing.
HANGING = sorted(KINDS.keys() - {"that end their half at once"})
QUICK = {"with half a body", "with thousands of headers"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.long) for kind in HANGING]
)
async def test_the_page_is_answered_whoever_holds_a_thousand_connections(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Few descriptors, bounded memory, no traceback, and nothing left of them afterwards.

    While they all come at once, a browser's connection may be closed for another, and it tries again.
    """
    async with serving() as (served, port):
        assert (await get(port, "/metrics")).startswith(b"HTTP/1.1 200")
        before_mib, slowest_s = rss_mib(), 0.0
        clients = hanging(port, 1_000, kind)
        await asyncio.to_thread(clients.__enter__)
        try:
            for _ in range(10):
                start_s = time.monotonic()
                assert (await get_in_the_end(port, "/metrics")).startswith(b"HTTP/1.1 200")
                slowest_s = max(slowest_s, time.monotonic() - start_s)
                assert len(served.server_state.connections) <= connections.MAX_BURST
            await until(lambda: len(served.server_state.connections) <= connections.MAX_CONNECTIONS)
        finally:
            await asyncio.to_thread(clients.__exit__, None, None, None)
        assert slowest_s < patience(5)
        assert rss_mib() - before_mib < 64
        await until(lambda: not served.server_state.connections)
    told = capfd.readouterr()
    assert "Traceback" not in caplog.text + told.out + told.err


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\ntoken=",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
    ],
)
async def test_a_body_that_does_not_arrive_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of which a byte comes now and then."""
    monkeypatch.setattr(connections, "ANSWER_S", 0.3)
    async with serving(token="a-secret") as (served, port):  # noqa: S106 - of this test
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await until(lambda: bool(served.server_state.connections))

        def drips() -> bool:
            writer.write(b"a")
            return not served.server_state.connections

        await until(drips)
        assert await ended(reader)
        writer.close()


async def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is asked behind it on the same connection is not made meanwhile."""
    monkeypatch.setattr(connections, "ANSWER_S", 0.3)
    async with serving() as (served, port):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /static/uPlot.iife.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        client.setblocking(False)
        await until(lambda: bool(served.server_state.connections))
        await until(lambda: not served.server_state.connections)
        assert served.server_state.total_requests < 50
        client.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
async def test_a_request_that_does_not_arrive_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await ended(reader)
        writer.close()


async def test_the_second_request_of_a_connection_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"}")
        writer.write(b"GET /api/version HT")
        assert await ended(reader)
        writer.close()


async def test_the_limits_of_a_request_are_for_each_request_of_a_connection() -> None:
    """A browser, or a proxy for many of them, asks on one connection for as long as it likes."""
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(30):
            writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n" + b"X: yyyyyyyy\r\n" * 100 + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"}")
        writer.close()


async def test_what_is_not_read_counts_as_a_connection_until_it_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed otherwise leaves it in the kernel's memory, for minutes; and reading it is enough."""
    monkeypatch.setattr(connections, "ANSWER_S", 1.0)
    async with serving() as (served, port):
        for reads in (True, False):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                client.connect(("127.0.0.1", port))
                client.sendall(
                    b"GET /static/uPlot.iife.min.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
                await until(lambda: bool(served.server_state.connections))
                await asyncio.sleep(0.2)
                assert served.server_state.connections, "it was answered, and nothing was read"
                if reads:
                    async with asyncio.timeout(patience(5)):
                        received = b""
                        while part := await asyncio.get_running_loop().sock_recv(client, 65_536):
                            received += part
                    assert len(received) > 50_000
                await until(lambda: not served.server_state.connections)


async def test_a_long_head_is_refused() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40_000)
        with suppress(ConnectionError):
            assert b"200 OK" not in await reader.read()
        writer.close()
