"""The demo's web page: the readout that users of the package have, kept up to date while the demo runs."""

import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from worker.experiment import service
from worker.experiment.definition import Definition
from worker.experiment.page import serving
from worker.settings.groups import KafkaClientSettings


@contextmanager
def shown(settings: KafkaClientSettings, definition: Definition) -> Iterator[str]:
    """Serve the page on a free port of this machine; yield its address."""
    options = service.Options(definitions=(definition,))
    with service.live(settings, options) as source, serving.listen("127.0.0.1", 0) as listening:
        server = serving.server(source)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield serving.address(listening)
        finally:
            server.should_exit = True
            thread.join()


def hold(page: str, console: Console) -> None:
    """Open the page in a browser, if there is one, and keep it until one has seen enough."""
    webbrowser.open(page)
    console.print(f"The page stays at {page} until Ctrl-C.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print()
