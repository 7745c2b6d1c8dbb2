"""The probes and `/metrics` over HTTP, from a thread of their own, so that a busy loop cannot hide.

    startupz 503 until the engine of this process is warm, and nothing else: a start-up probe on anything outside
             would restart a worker that only waits for it, and load its model again
    livez    503 if the worker makes no progress: the poll thread or the event loop is stuck
    readyz   503 with the reason until the engine is warm and the group is joined, and whenever work is held up
    metrics  Prometheus' text format, or OpenMetrics for those who ask for it
    /        for people: what the worker does and waits for (`worker.runtime.status_page`)

    POST breaker/accept?next=N    closes the breaker on dead letters; only for callers on this machine or in this pod

Whoever may run a command beside the worker may close its breaker, so there is no password.  Such a call comes
from 127.0.0.1 or ::1, asks for that or for localhost, and has the headers of `mirrorstream dlq accept` and no
other.  Proxies, meshes and browsers add headers of theirs, keep the name that was asked for, or (Istio) come
from 127.0.0.6: all refused.  One that hands raw TCP on to the loopback unmarked cannot be told from a caller
in the pod.

A port on the loopback answers to the loopback's own names alone: a foreign page in a browser on this machine, whose
name was turned to 127.0.0.1 (DNS rebinding), reads nothing.  A port that others reach answers to any name, since only
its operator knows which ones probes, scrapers and meshes use.

Kafka being away makes a worker unready, never dead: a restart would not bring it back.

Connections cost file descriptors, which Kafka's client needs too, so they are few and short.  A request has 5
s to arrive and 15 s to be answered and read; its head has 16 KiB.  There are at most 32 connections: a new
one closes the one that has stood still longest, so a probe gets through whoever holds the others.  A connection stays
one of these until its client has taken the whole answer; what is not taken in time is dropped (`worker.system.unread`).
Where the process has no descriptor or thread left, the port waits and tries again; nothing here reaches the pipeline.
"""

import errno
import logging
import re
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from worker.core.errors import masked
from worker.runtime.health_state import HealthState
from worker.runtime.metrics.formats import MetricFormat, metric_format
from worker.system import all_addresses, unread

log = logging.getLogger(__name__)

TEXT, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
PAGE_HEADERS = {  # what the page may load: nothing but its own style
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
HERE = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})  # the last is IPv4's on a port of both families
HERE_BY_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
OUR_HEADERS = frozenset({"host", "accept-encoding", "connection", "content-length", "user-agent"})  # urllib's
MAX_NEXT_DIGITS = 7
CLOSE_WAIT_S = 0.1  # at most; the library's own is 0.5, which every stop of a worker would take longer
MAX_CONNECTIONS = 32
REQUEST_S = 5.0  # for a request to arrive, from when its connection is there
ANSWER_S = 15.0  # for it to be answered and read; closing the breaker may wait 10 s for the loop
MAX_HEAD_BYTES = 16 << 10  # of the request line and all headers
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GRACE_S = 0.025  # for a connection before it is closed for another: 32 of them are 1,280 in a second
LOOK_S = 0.05  # at most between two looks at whether an answer was read
TRY_AGAIN_S = 0.1  # after one of these, or a connection that waits would be tried without a pause
SAME_S = 0.1  # for which metrics stay the same
MAX_TOLD = 100  # characters of a path
SAY_AGAIN_S = 60.0  # before the same is logged once more


class Health:
    """The server; `started`, `live` and `ready` return the reason why not, "" if all is well.

    `metrics` returns the exposition in a format, and its content type, `page` the page for people.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        state: HealthState,
        metrics: Callable[[MetricFormat], tuple[bytes, str]],
        page: Callable[[], str],
    ) -> None:
        """Listen at once; port 0 takes a free one, and `::` both IPv6 and IPv4.

        Raises `OSError` if the port cannot be had.
        """
        self._server = _listen(host, port, _Pages(state, _Once(metrics), _Once(lambda _: (_utf8(page()), HTML))))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Serve for ever: a failure of the port is not one of the worker."""
        while not self._closed.is_set():
            try:
                self._server.serve_forever(CLOSE_WAIT_S)
            except Exception:
                log.exception("HTTP port: failed; it is tried again in 1 s")
                self._closed.wait(1.0)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


def _utf8(text: str) -> bytes:
    """Encode a text; the name of a file in it need not be one that UTF-8 has."""
    return text.encode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class _Pages:
    """What each page says."""

    state: HealthState
    metrics: Callable[[str], tuple[bytes, str]]
    people: Callable[[str], tuple[bytes, str]]


class _Once:
    """Makes metrics or a page for one caller at a time; others who ask at once are given the same.

    It takes milliseconds of Python's lock, which the pipeline's loop needs too.  What is made is kept by format, of
    which there are few, and not by what was asked: a caller may ask in any number of ways.
    """

    def __init__(self, make: Callable[[MetricFormat], tuple[bytes, str]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[MetricFormat, tuple[float, tuple[bytes, str]]] = {}  # by format: when, and what

    def __call__(self, accept: str) -> tuple[bytes, str]:
        wanted = metric_format(accept)
        with self._lock:
            at_s, made = self._made.get(wanted, (-SAME_S, (b"", "")))
            if time.monotonic() - at_s >= SAME_S:
                made = self._make(wanted)
                self._made[wanted] = time.monotonic(), made
            return made


@dataclass(slots=True)
class _Connection:
    """When it is closed, since when it stands still, on the monotonic clock, and whether its answer is being made."""

    until_s: float
    since_s: float
    answering: bool = False


class _Server(ThreadingHTTPServer):
    """One thread per connection, as in the library; few connections, each for a limited time."""

    daemon_threads = True
    request_queue_size = 1_024  # that the kernel keeps until they are accepted; one more would try again after 1 s

    def __init__(self, address: tuple[str, int], pages: _Pages) -> None:
        self.pages = pages
        self._connections: OrderedDict[socket.socket, _Connection] = (
            OrderedDict()
        )  # the one that stands still longest first
        self._lock = threading.Lock()
        self._said_s = dict[str, float]()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Listen; an address of all interfaces takes both families, whatever the system's own choice is."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def answering(self, connection: socket.socket) -> None:
        """Note that the request of a connection has arrived."""
        with self._lock:
            if connection in self._connections:
                now_s = time.monotonic()
                self._connections[connection] = _Connection(now_s + ANSWER_S, now_s, answering=True)

    def taken(self, connection: socket.socket) -> None:
        """Note that an answer was made, or that its client has taken a part: from now on it waits for the client."""
        with self._lock:
            found = self._connections.get(connection)
            if found is not None:
                found.answering, found.since_s = False, time.monotonic()
                self._connections.move_to_end(connection)

    def answered(self, connection: socket.socket) -> None:
        """Wait until the client has taken the answer, or the connection is overdue or closed for another."""
        look_s = 0.001
        while unread.num_unread(connection.fileno()) and self._holds(connection):
            time.sleep(look_s)
            look_s = min(2 * look_s, LOOK_S)

    def _holds(self, connection: socket.socket) -> bool:
        """Say whether a connection is still one of ours."""
        with self._lock:
            found = self._connections.get(connection)
        return found is not None and time.monotonic() < found.until_s

    # -- what the library calls, in the thread that listens

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; without a descriptor for it, wait a moment."""
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in NONE_LEFT:
                self._say(f"no connection can be accepted: {error.strerror}")
                self._make_room(0)
                time.sleep(TRY_AGAIN_S)
            raise
        unread.bound(connection)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        self._make_room(MAX_CONNECTIONS - 1)
        with self._lock:
            now_s = time.monotonic()
            self._connections[request] = _Connection(now_s + REQUEST_S, now_s)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close what is overdue."""
        now_s = time.monotonic()
        with self._lock:
            overdue = [one for one, connection in self._connections.items() if connection.until_s < now_s]
        for one in overdue:
            _shut(one)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away; log what else went wrong."""
        del request, client_address
        self._say_failure()

    # -- and in the thread that answers

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and keep nothing of it."""
        with self._lock:
            self._connections.pop(request, None)
        if unread.num_unread(request.fileno()):
            unread.drop_unread(request)
        super().shutdown_request(request)

    # -- helpers

    def _make_room(self, most: int) -> None:
        """Close those that stand still longest, first what is not being answered, until there are at most so many.

        Each has a moment first, in which others wait to be accepted: whoever connects fastest takes no turn from those
        that ask and read.
        """
        with self._lock:
            closed = self._too_many(most)
        if not closed:
            return
        time.sleep(max(0.0, max(one.since_s for one in closed.values()) + GRACE_S - time.monotonic()))
        self._say(f"{MAX_CONNECTIONS} connections; the one that stands still longest is closed for a new one")
        with self._lock:
            closed = self._too_many(most)
            for one in closed:
                del self._connections[one]
        for one in closed:
            _shut(one)

    def _too_many(self, most: int) -> dict[socket.socket, _Connection]:
        waiting = {one: found for one, found in self._connections.items() if not found.answering}
        answering = {one: found for one, found in self._connections.items() if found.answering}
        return dict(list((waiting | answering).items())[: max(0, len(self._connections) - most)])

    def _say_failure(self) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._say(f"a request could not be answered: {type(error).__name__}: {error}")

    def _say(self, what: str) -> None:
        now_s = time.monotonic()
        kind = what.partition(":")[0]
        if now_s - self._said_s.get(kind, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_s[kind] = now_s
            log.warning("HTTP port: %s", what)


def _listen(host: str, port: int, pages: _Pages) -> _Server:
    """Listen at an address; where there is no IPv6, all of its addresses are all of IPv4.  Raises `OSError`."""
    try:
        return _Server((host, port), pages)
    except OSError as error:
        other = all_addresses.instead(host, error)
        if other is None:
            raise
        log.info("http_host %s: this machine has no IPv6; listening on %s", host, other)
        return _Server((other, port), pages)


def _shut(connection: socket.socket) -> None:
    """End a connection, whatever its client has not read; the thread that waits for it closes it."""
    unread.drop_unread(connection)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _TooLongError(Exception):
    """The head of a request has more than `MAX_HEAD_BYTES`."""


class _Head:
    """What a request's head is read from, no more than it may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._room = file, MAX_HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Read a line.  Raises `_TooLongError`."""
        line = self._file.readline(self._room + 1 if limit < 0 else min(limit, self._room + 1))
        self._room -= len(line)
        if self._room < 0:
            raise _TooLongError
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server
    timeout = REQUEST_S  # of one read or write; the whole time is the server's
    # The library's own refusals are pages of HTML; they say again what was asked.
    error_content_type, error_message_format = TEXT, "%(code)d %(message)s\n"
    # What an answer needs where not even the request line could be read.
    command, requestline, request_version = "", "", "HTTP/1.0"

    def setup(self) -> None:
        """Bound what is read."""
        super().setup()
        self.rfile = _Head(self.rfile)  # type: ignore[assignment,arg-type]

    def handle(self) -> None:
        """Answer one request."""
        try:
            super().handle()
        except _TooLongError:
            self._answer(431, f"want at most {MAX_HEAD_BYTES} bytes of headers\n".encode(), TEXT)

    def parse_request(self) -> bool:
        """Read the headers; the request is then there."""
        there = super().parse_request()
        self.server.answering(self.connection)
        return there

    def do_GET(self) -> None:
        """Answer one page."""
        path, pages = self.path.partition("?")[0], self.server.pages
        if foreign := _foreign_name(str(self.server.server_address[0]), self.headers):
            self._answer(421, _utf8(f"Host {foreign[:MAX_TOLD]!r}; want localhost, 127.0.0.1 or [::1]\n"), TEXT)
            return
        try:
            if path == "/metrics":
                self._answer(200, *pages.metrics(self.headers.get("Accept", "")))
            elif path == "/":
                self._answer(200, *pages.people(""), headers=PAGE_HEADERS)
            elif path in _PROBES:
                reason = masked(_PROBES[path](pages.state))
                self._answer(503 if reason else 200, _utf8(f"{reason or 'ok'}\n"), TEXT)
            else:
                self._answer(404, b"not found; want /, /startupz, /livez, /readyz or /metrics\n", TEXT)
        except OSError:
            raise  # the client is gone
        except Exception as error:
            log.exception("HTTP port: %s failed", path[:MAX_TOLD])
            self._answer(500, f"failed: {type(error).__name__}\n".encode(), TEXT)

    def do_POST(self) -> None:
        """Close the breaker."""
        path, _, query = self.path.partition("?")
        num_next = parse_qs(query).get("next", ["0"])[-1]
        if path != "/breaker/accept":
            self._answer(404, b"not found; want /breaker/accept\n", TEXT)
        elif not _is_here(self.client_address[0], self.headers):
            self._answer(403, b"only from the worker's own machine or pod: `mirrorstream dlq accept`\n", TEXT)
        elif not (num_next.isascii() and num_next.isdecimal() and len(num_next) <= MAX_NEXT_DIGITS):
            self._answer(400, b"next: want a number\n", TEXT)
        else:
            self._answer(200, f"{self.server.pages.state.accept(int(num_next))}\n".encode(), TEXT)

    def _answer(
        self, code: int, body: bytes, content_type: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), unread.SEND_BYTES):
            self.server.taken(self.connection)
            self.wfile.write(body[at : at + unread.SEND_BYTES])
        self.server.answered(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Log nothing: a probe every few seconds is not worth a line."""


def _foreign_name(listening: str, headers: Message) -> str:
    """Return a name that a port on the loopback does not answer to; "" if there is none, as of programs without any."""
    names = headers.get_all("Host", []) if listening in HERE else []
    return next((name or "(empty)" for name in names if not HERE_BY_NAME.fullmatch(name)), "")


def _is_here(peer: str, headers: Message) -> bool:
    names = headers.get_all("Host", [])
    return (
        peer in HERE
        and len(names) == 1
        and HERE_BY_NAME.fullmatch(names[0]) is not None
        and {name.lower() for name in headers} <= OUR_HEADERS
    )


_PROBES: dict[str, Callable[[HealthState], str]] = {
    "/startupz": HealthState.started,
    "/livez": HealthState.live,
    "/readyz": HealthState.ready,
}
