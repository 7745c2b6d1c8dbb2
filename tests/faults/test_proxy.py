"""What the proxy does to plain sockets is what the fault tests say they do to a worker."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar

import pytest

from tests.support.patience import patience

from .proxy import END_TXN, Proxy

PRODUCE = 0
SOON_S = 0.3


class Broker(socketserver.BaseRequestHandler):
    """Answers each request with its correlation id and its body, and keeps what it was asked."""

    asked: ClassVar[list[bytes]]

    def handle(self) -> None:
        while head := self.request.recv(4, socket.MSG_WAITALL):
            body = self.request.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            self.asked.append(body[8:])
            self.request.sendall(framed(body[4:]))


@pytest.fixture
def asked(proxy: Proxy) -> Iterator[list[bytes]]:
    """What the broker behind the proxy was asked."""
    Broker.asked = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broker) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        proxy.forward([server.server_address[1]])
        yield Broker.asked
        server.shutdown()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(1) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with dial(proxy) as client:
        yield client


def dial(proxy: Proxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.ports[0]))
    client.settimeout(patience(SOON_S))
    return client


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def request(body: bytes, *, api_key: int = PRODUCE, correlation_id: int = 1) -> bytes:
    return framed(api_key.to_bytes(2, "big") + b"\0\1" + correlation_id.to_bytes(4, "big") + body)


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Return an answer's correlation id and body."""
    body = exactly(client, int.from_bytes(exactly(client, 4), "big"))
    return int.from_bytes(body[:4], "big"), body[4:]


def exactly(client: socket.socket, num_bytes: int) -> bytes:
    found = b""
    while len(found) < num_bytes:
        found += client.recv(num_bytes - len(found)) or b"the connection ended".ljust(num_bytes)
    return found


def test_requests_and_answers_come_through_whole(asked: list[bytes], client: socket.socket) -> None:
    client.sendall(request(b"one", correlation_id=7)[:5])
    client.sendall(request(b"one", correlation_id=7)[5:] + request(b"two" * 100_000, correlation_id=8))
    assert [answer(client), answer(client)] == [(7, b"one"), (8, b"two" * 100_000)]


def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended(
    proxy: Proxy, asked: list[bytes], client: socket.socket
) -> None:
    with proxy.cut():
        assert_closed(client)
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
    with dial(proxy) as again:
        again.sendall(request(b"after"))
        assert answer(again) == (1, b"after")


def test_a_black_hole_accepts_and_says_nothing_and_forgets_what_it_took(
    proxy: Proxy, asked: list[bytes], client: socket.socket
) -> None:
    with proxy.black_hole(), dial(proxy) as late:
        for one in (client, late):
            one.sendall(request(b"lost"))
            with pytest.raises(TimeoutError):
                one.recv(1)
    assert_closed(client)
    assert asked == []


def test_a_slow_network_holds_each_request_and_each_answer(
    proxy: Proxy, asked: list[bytes], client: socket.socket
) -> None:
    with proxy.slow(0.1):
        started_s = time.monotonic()
        client.sendall(request(b"late"))
        assert answer(client) == (1, b"late")
        assert time.monotonic() - started_s >= 0.2


def test_a_swallowed_answer_is_one_to_a_request_that_was_carried_out(
    proxy: Proxy, asked: list[bytes], client: socket.socket
) -> None:
    with proxy.swallowed_answers(END_TXN) as swallowed:
        client.sendall(request(b"records", correlation_id=1))
        assert answer(client) == (1, b"records")
        client.sendall(request(b"commit", api_key=END_TXN, correlation_id=2))
        assert_closed(client)
        assert (asked, swallowed()) == ([b"records", b"commit"], 1)
    with dial(proxy) as again:
        again.sendall(request(b"commit", api_key=END_TXN, correlation_id=2))
        assert answer(again) == (2, b"commit")


def assert_closed(client: socket.socket) -> None:
    """Wait for its end; a reset is one too."""
    with suppress(ConnectionResetError):
        assert client.recv(1) == b""
