"""A webhook on the loopback: up, slow, or answering with an error."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from tests.support.patience import patience


class Receiver(ThreadingHTTPServer):
    """A webhook on the loopback that answers with `status`, after `release` if it is `slow`.

    One that is `dripping` sends a character of a header now and then instead, until `release`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.slow, self.dripping, self.release = 204, False, False, Event()
        self.got: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        """An address with secrets in every place that has room for one."""
        return f"http://me:s3cret@127.0.0.1:{self.server_port}/hook?key=t0ken"


class Handler(BaseHTTPRequestHandler):
    """Keeps what it gets in `Receiver.got`."""

    server: Receiver

    def do_POST(self) -> None:
        """Take a body and answer."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, self.headers["Authorization"], body))
        if self.server.slow:
            self.server.release.wait(patience(30))
        if self.server.dripping:
            self._drip()
        self.send_response(self.server.status)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        with suppress(OSError):
            while not self.server.release.wait(0.05):
                self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve until the end of the block."""
    with Receiver() as made:
        serving = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield made
        finally:
            made.release.set()
            made.shutdown()
            serving.join()
