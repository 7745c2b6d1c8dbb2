"""`/livez`, `/readyz` and `/metrics` over HTTP, from a thread of their own, so that a busy loop cannot hide.

    livez    503 if the worker makes no progress: the poll thread or the event loop has stopped turning
    readyz   503 with the reason until the engine is warm and the group is joined, and whenever work is held up
    metrics  Prometheus' text format

    POST breaker/accept?next=N    closes the breaker on dead letters; only for callers on this machine or in this pod

Whoever may run a command beside the worker may close its breaker, so there is no password.  Such a call comes from
127.0.0.1 or ::1, asks for that or for localhost, and has the headers of `mirrorstream dlq accept` and no other.
Proxies, meshes and browsers add headers of theirs, keep the name that was asked for, or (Istio) come from 127.0.0.6:
all refused.  One that hands raw TCP on to the loopback unmarked cannot be told from a caller in the pod.

Kafka being away makes a worker unready, never dead: a restart would not bring it back.
"""

import re
import threading
import time
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST

from worker.errors import masked

TEXT = "text/plain; charset=utf-8"
HERE = frozenset({"127.0.0.1", "::1"})
HERE_BY_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
OUR_HEADERS = frozenset({"host", "accept-encoding", "connection", "content-length", "user-agent"})  # urllib's
MAX_NEXT_DIGITS = 7
LIVE_S = 60.0  # a loop or poll thread that has not turned for this long will not
CLOSE_WAIT_S = 0.1  # at most; the library's own is 0.5, which every stop of a worker would take longer


class Health:
    """The server; each page is a function that returns the reason why not, "" if all is well."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Callable[[], str],
        ready: Callable[[], str],
        metrics: Callable[[], bytes],
        accept: Callable[[int], str],
    ) -> None:
        """Listen at once; port 0 takes a free one.  `accept` closes the breaker and returns what was done."""
        self._server = ThreadingHTTPServer((host, port), _handler(live, ready, metrics, accept))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_WAIT_S,), name="health", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(
    live: Callable[[], str], ready: Callable[[], str], metrics: Callable[[], bytes], accept: Callable[[int], str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer one page."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics(), CONTENT_TYPE_LATEST)
            elif path in ("/livez", "/readyz"):
                reason = masked(live() if path == "/livez" else ready())
                self._answer(503 if reason else 200, f"{reason or 'ok'}\n".encode(), TEXT)
            else:
                self._answer(404, b"not found; want /livez, /readyz or /metrics\n", TEXT)

        def do_POST(self) -> None:
            """Close the breaker."""
            url = urlsplit(self.path)
            num_next = parse_qs(url.query).get("next", ["0"])[-1]
            if url.path != "/breaker/accept":
                self._answer(404, b"not found; want /breaker/accept\n", TEXT)
            elif not _is_here(self.client_address[0], self.headers):
                self._answer(403, b"only from the worker's own machine or pod: `mirrorstream dlq accept`\n", TEXT)
            elif not (num_next.isascii() and num_next.isdecimal() and len(num_next) <= MAX_NEXT_DIGITS):
                self._answer(400, b"next: want a number\n", TEXT)
            else:
                self._answer(200, f"{accept(int(num_next))}\n".encode(), TEXT)

        def _answer(self, code: int, body: bytes, content_type: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Say nothing: a probe every few seconds is not worth a line."""

    return Handler


def _is_here(peer: str, headers: Message) -> bool:
    names = headers.get_all("Host", [])
    return (
        peer in HERE
        and len(names) == 1
        and HERE_BY_NAME.fullmatch(names[0]) is not None
        and {name.lower() for name in headers} <= OUR_HEADERS
    )


class State:
    """What the health pages say, as the start goes on."""

    def __init__(self) -> None:
        """Be alive and not ready."""
        self._live: Callable[[], str] = str
        self._accept: Callable[[int], str] = lambda _: "the worker has not started"
        self.waits("the engine is loading")

    def live(self) -> str:
        """Why it is not alive, "" if it is."""
        return self._live()

    def ready(self) -> str:
        """Why it is not ready, "" if it is."""
        return self._ready()

    def waits(self, reason: str) -> None:
        """Be not ready, for this reason."""
        self._ready: Callable[[], str] = lambda: reason

    def accept(self, num_next: int) -> str:
        """Close the breaker; return what was done."""
        return self._accept(num_next)

    def works(self, *, live: Callable[[], str], ready: Callable[[], str], accept: Callable[[int], str]) -> None:
        """Ask the parts from now on."""
        self._live, self._ready, self._accept = live, ready, accept


def stale(what: str, last_s: float) -> str:
    """Return why a part that last turned at `last_s`, on the monotonic clock, is dead; "" if it is not."""
    silent_s = time.monotonic() - last_s
    return f"the {what} has not turned for {silent_s:.0f} s" if silent_s > LIVE_S else ""
