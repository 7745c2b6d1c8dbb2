"""The process that encodes spans and sends them, so that this takes no time of the worker's interpreter.

    standard input     a socket to the worker
    worker -> child    a batch of spans, as `pack` writes it
    child -> worker    why the batch was not taken; "" if it was

The exporter is the SDK's own, and reads the environment as ever.  The SDK (1.45) has none that works outside of the
process.  Encoding a span takes longer than making it, and while it does, Python runs nothing else.

The child ends with its socket, whatever it is doing.  Signals to a whole process group are the worker's to act on, as
it may still have spans to send.  It imports nothing of the worker but `unpack`, and so stays small.
"""

import logging
import os
import signal
import socket
import struct
import sys
from importlib import import_module
from io import BufferedReader, BufferedWriter
from queue import SimpleQueue
from threading import Thread
from typing import Any

from worker.runtime.span_process.unpack import unpack

WHY_CHARS = 200
_LENGTH = struct.Struct(">I")
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# -- frames: a length, and so many bytes


def put(stream: BufferedWriter, content: bytes) -> None:
    """Write a frame.  Raises `OSError`."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def get(stream: BufferedReader) -> bytes:
    """Read a frame.  Raises `EOFError` at the end of the stream, and `OSError`."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return _exactly(stream, length)


def _exactly(stream: BufferedReader, length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


# -- the process


class _LastLine(logging.Handler):
    """Keeps what the library says last, such as why a batch was refused."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = " ".join(record.getMessage().split())[:WHY_CHARS]


def _export(made_by: tuple[str, str], batches: "SimpleQueue[bytes]", answers: BufferedWriter) -> None:
    said = _LastLine()
    logging.getLogger("opentelemetry").addHandler(said)
    logging.getLogger("opentelemetry").propagate = False
    module, name = made_by
    exporter: Any = None
    while True:
        content = batches.get()
        said.last = ""
        try:
            exporter = exporter or getattr(import_module(module), name)()
            why = "" if exporter.export(unpack(content)).name == "SUCCESS" else said.last or "failed"
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch may be better
            why = type(error).__name__
        put(answers, why.encode(errors="backslashreplace"))


def main(module: str, name: str) -> None:
    """Export what comes, with the exporter `name` of a module, until the socket ends."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    batches: SimpleQueue[bytes] = SimpleQueue()
    with socket.socket(fileno=sys.stdin.fileno()) as worker:
        requests, answers = worker.makefile("rb"), worker.makefile("wb")
        Thread(target=_export, args=((module, name), batches, answers), daemon=True).start()
        try:
            while True:
                batches.put(get(requests))
        except (EOFError, OSError):
            os._exit(0)  # an export may try for seconds
