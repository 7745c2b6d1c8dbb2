"""A program of clients that hold many connections to a port of the loopback and never behave.

    python tests/support/hanging_clients.py PORT NUMBER KIND

Opens the connections, sends on each what KIND says, reads nothing, prints `there`, and holds them until its standard
input ends; one that the server closes is opened again.  `hanging` runs it, in a process with descriptors of its own.
"""

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD_OF_A_POST = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
KINDS = {
    "that say nothing": b"",
    "with half a head": GET[:-2] + b"X: ",
    "with half a body": HEAD_OF_A_POST + b"token=",
    "with chunks that never end": HEAD_OF_A_POST.replace(b"Content-Length: 1000000", b"Transfer-Encoding: chunked")
    + b"5\r\n",
    "that read nothing": GET,
    "that ask hundreds of times at once": GET * 300,
    "with thousands of headers": GET[:-2] + b"X: y\r\n" * 5_000 + b"\r\n",
    "that speak another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 4,
    "that end their half at once": GET,
}
AGAIN_S = 0.005  # between two looks at whether one was closed, and is opened anew


def main() -> None:
    """Hold connections until the standard input ends."""
    port, number, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    held = [opened(port, kind) for _ in range(number)]
    sys.stdout.write("there\n")
    sys.stdout.flush()
    for place in cycle(range(number)):
        if select.select([sys.stdin], [], [], AGAIN_S)[0]:
            return
        if closed(held[place]):
            held[place].close()
            held[place] = opened(port, kind)


def opened(port: int, kind: str) -> socket.socket:
    """Connect and send."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(5)
    with suppress(OSError):  # it may be full, or refuse already
        client.connect(("127.0.0.1", port))
        client.sendall(KINDS[kind])
        if "end their half" in kind:
            client.shutdown(socket.SHUT_WR)
    client.setblocking(False)
    return client


def closed(client: socket.socket) -> bool:
    """Say whether the server has ended a connection, without taking anything that it sent."""
    events = select.poll()
    events.register(client, select.POLLRDHUP)
    return bool(events.poll(0))


@contextmanager
def hanging(port: int, number: int, kind: str) -> Iterator[None]:
    """Hold such connections until the block ends."""
    command = [sys.executable, "-I", __file__, str(port), str(number), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == b"there\n"
        yield


if __name__ == "__main__":
    main()
