"""The demo's web page: the readout that users of the package have, kept up to date while the demo runs."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from worker.experiment import service
from worker.experiment.definition import Definition
from worker.experiment.page import serving
from worker.settings.groups import KafkaClientSettings

LOOKED_S = 45.0  # since the last request; a page that is open asks every 2 to 30 s


@dataclass(slots=True)
class Watched:
    """Where the page is, and when it was last asked for."""

    address: str
    asked_s: float = float("-inf")  # monotonic

    @property
    def is_looked_at(self) -> bool:
        """Whether it is open in a browser."""
        return time.monotonic() - self.asked_s < LOOKED_S


def on_embedded(settings: KafkaClientSettings) -> KafkaClientSettings:
    """Return settings for a reader of the embedded broker, whose transaction markers have no checksum.

    A reader that checks it takes each marker for a damaged batch, and reads nothing behind it.
    """
    return settings.model_copy(update={"kafka_options": {**settings.kafka_options, "check.crcs": "false"}})


@contextmanager
def shown(settings: KafkaClientSettings, definition: Definition) -> Iterator[Watched]:
    """Serve the page on a free port of this machine."""
    options = service.Options(definitions=(definition,), defined_at=definition.start)  # its events are made after it
    with service.live(settings, options) as source, serving.listen("127.0.0.1", 0) as listening:
        page = Watched(serving.address(listening))
        server = serving.server(source)
        server.config.app = noting(page, server.config.app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield page
        finally:
            server.should_exit = True
            thread.join()


def noting(page: Watched, app: Any) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Return an ASGI application that notes when it was asked."""

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        page.asked_s = time.monotonic()
        await app(scope, receive, send)

    return noted
