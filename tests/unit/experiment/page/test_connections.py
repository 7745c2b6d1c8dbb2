"""The page's server: connections that ask for nothing, ask half or read nothing are few and end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest
import uvicorn

from tests.support.experiment import page_examples as made
from worker.experiment.page import connections
from worker.experiment.page.serving import listen, server


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """Serve in this loop."""
    with listen("127.0.0.1", 0) as listening:
        served = server(made.Changing(made.report()))
        served.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.ensure_future(served.serve(sockets=[listening]))
        try:
            yield served, listening.getsockname()[1]
        finally:
            served.should_exit = True
            await task


async def get(port: int, path: str = "/api/version") -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


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
            await asyncio.sleep(0.05)
            assert len(served.server_state.connections) <= connections.MAX_CONNECTIONS


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


async def test_a_long_head_is_refused() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40_000)
        with suppress(ConnectionError):
            assert b"200 OK" not in await reader.read()
        writer.close()
