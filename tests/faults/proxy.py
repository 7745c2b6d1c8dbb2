"""A network that fails on purpose: TCP on loopback between clients and brokers, one port a broker.

    with Proxy(3) as proxy, KafkaCluster(3, proxies=proxy.ports) as kafka:
        proxy.forward(kafka.proxied)
        with proxy.cut():                    # connections end, new ones are refused
            ...
        with proxy.black_hole():             # connections stand, and nothing comes through
            ...
        with proxy.slow(0.3):                # every request and every answer waits
            ...
        with proxy.swallowed_answers(END_TXN) as swallowed:
            ...                              # the broker does what it is asked; the client never hears of it
        with proxy.moved_coordinator("-topics") as told:
            ...                              # who asks for offsets of such groups is told: not their coordinator

It reads no more of Kafka's protocol than where a request starts, its API key, version and correlation id:

    request   int32 length, int16 API key, int16 version, int32 correlation id, ...
    answer    int32 length, int32 correlation id, ...

At the end of each block the network is whole again; connections that lost something are closed.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from tests.support.kafka_broker import free_ports
from tests.support.patience import patience

T = TypeVar("T")

END_TXN = 26  # API key: commit or abort
INIT_PRODUCER_ID = 22
OFFSET_FETCH = 9
CALL_TIMEOUT_S = 10.0  # of one order to the proxy's thread
_GONE = (asyncio.IncompleteReadError, OSError)  # either side has closed


@dataclass(eq=False, slots=True)
class _Connection:
    """One client's connection and the one to the broker that stands behind it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    holed: bool  # nothing comes through any more
    unheard: set[int] = field(default_factory=set)  # correlation ids whose answers shall not arrive
    misled: dict[int, bytes] = field(default_factory=dict)  # correlation ids, and what their answers shall be instead

    def abort(self) -> None:
        for writer in (self.client, self.broker):
            writer.transport.abort()


class Proxy:
    """Listens from the `with` block on, in a thread of its own."""

    def __init__(self, num_brokers: int) -> None:
        """Choose the ports."""
        self.ports: Sequence[int] = free_ports(num_brokers)
        self._targets: Sequence[int] = ()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listeners: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._holing = False
        self._delay_s = 0.0
        self._swallowing: int | None = None
        self._num_swallowed = 0
        self._misleading: bytes | None = None
        self._num_misled = 0

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection."""
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(patience(CALL_TIMEOUT_S))
        self._loop.close()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def forward(self, targets: Sequence[int]) -> None:
        """Say which port stands behind each of `ports`."""
        self._targets = targets

    # -- what can go wrong

    @contextmanager
    def cut(self) -> Iterator[None]:
        """End all connections and refuse new ones."""
        self._call(self._refuse())
        try:
            yield
        finally:
            self._call(self._listen())

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Accept everything and let nothing through, either way."""
        self._call(self._hole(holing=True))
        try:
            yield
        finally:
            self._call(self._hole(holing=False))

    @contextmanager
    def slow(self, delay_s: float) -> Iterator[None]:
        """Hold every request and every answer for so long; those of one connection wait for each other."""
        self._delay_s = delay_s
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextmanager
    def swallowed_answers(self, api_key: int) -> Iterator[Callable[[], int]]:
        """Let such requests through, drop their answers and then the connection; gives how many were dropped."""
        self._swallowing, self._num_swallowed = api_key, 0
        try:
            yield lambda: self._num_swallowed
        finally:
            self._swallowing = None

    @contextmanager
    def moved_coordinator(self, group_end: str) -> Iterator[Callable[[], int]]:
        """Answer requests for the offsets of groups whose names end so as a broker that was their coordinator before.

        Gives how many were answered so.
        """
        self._misleading, self._num_misled = group_end.encode(), 0
        try:
            yield lambda: self._num_misled
        finally:
            self._misleading = None

    # -- the proxy's thread

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(patience(CALL_TIMEOUT_S))

    async def _listen(self) -> None:
        """Accept by hand: a server of asyncio's that is closed forgets whom it is just accepting, and they hang."""
        for i, port in enumerate(self.ports):
            listener = socket.create_server(("127.0.0.1", port))
            listener.setblocking(False)
            self._listeners.append(listener)
            self._loop.add_reader(listener, self._accept, listener, i)

    def _accept(self, listener: socket.socket, i: int) -> None:
        with suppress(OSError):  # it has gone again
            task = self._loop.create_task(self._serve(listener.accept()[0], i))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket, i: int) -> None:
        """Carry both ways until either side ends it."""
        requests, client = await asyncio.open_connection(sock=accepted)
        try:
            answers, broker = await asyncio.open_connection("127.0.0.1", self._targets[i])
        except OSError:
            client.transport.abort()
            await _closed(client)
            return
        connection = _Connection(client, broker, self._holing)
        self._connections.add(connection)
        if not self._listeners:  # it was accepted just before the cut
            connection.abort()
        await asyncio.gather(
            self._pump(connection, requests, broker, self._let_request),
            self._pump(connection, answers, client, self._let_answer),
        )
        self._connections.discard(connection)
        await asyncio.gather(_closed(client), _closed(broker))

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        let: Callable[[_Connection, bytes], bytes],
    ) -> None:
        with suppress(*_GONE):
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(head, "big"))
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if connection.holed:
                    continue
                passed = let(connection, body)
                if not passed:
                    break
                writer.write(len(passed).to_bytes(4, "big") + passed)
                await writer.drain()
        connection.abort()

    def _let_request(self, connection: _Connection, body: bytes) -> bytes:
        """Return what goes on to the broker."""
        api_key, version = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        correlation_id = int.from_bytes(body[4:8], "big")
        if api_key == self._swallowing:
            connection.unheard.add(correlation_id)
        if api_key == OFFSET_FETCH and self._misleading is not None:
            assert version == 9, f"the answer is written for version 9 of OffsetFetch, not {version}"
            group = _group(body)
            if group.endswith(self._misleading):
                connection.misled[correlation_id] = _not_coordinator(group)
        return body

    def _let_answer(self, connection: _Connection, body: bytes) -> bytes:
        """Return what goes on to the client; nothing if it shall not hear of it."""
        correlation_id = int.from_bytes(body[:4], "big")
        if correlation_id in connection.misled:
            self._num_misled += 1
            return body[:4] + connection.misled.pop(correlation_id)
        swallowed = correlation_id in connection.unheard
        self._num_swallowed += swallowed
        return b"" if swallowed else body

    async def _refuse(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for connection in self._connections:
            connection.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _hole(self, *, holing: bool) -> None:
        self._holing = holing
        for connection in self._connections:
            if holing:
                connection.holed = True
            elif connection.holed:
                connection.abort()


def _group(request: bytes) -> bytes:
    """Return the group of an OffsetFetch request (version 9, one group); its length is written as one more."""
    at = 10 + int.from_bytes(request[8:10], "big") + 2  # behind the client's id, no tags, and "one group"
    assert request[at] < 128, "a longer name has its length in two bytes"
    return request[at + 1 : at + request[at]]


def _not_coordinator(group: bytes) -> bytes:
    """Return a moved coordinator's answer to an OffsetFetch request (version 9), without its correlation id."""
    no_tags, no_throttling, one_group, no_topics, error = b"\0", bytes(4), b"\2", b"\1", (16).to_bytes(2, "big")
    return no_tags + no_throttling + one_group + bytes([len(group) + 1]) + group + no_topics + error + no_tags * 2


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await writer.wait_closed()
