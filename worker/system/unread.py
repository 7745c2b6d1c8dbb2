"""What the kernel still holds of an answer whose client does not read it.

A connection that is closed leaves what its client has not taken in the kernel's memory, for minutes, and in a container
that memory is the program's: whoever asks often and reads nothing fills it, however few connections are open.
"""

import fcntl
import select
import socket
import struct
import termios
from contextlib import suppress

SEND_BYTES = 64 << 10  # of the kernel's memory for one connection; it takes twice as much


def bound(connection: socket.socket) -> None:
    """Let the kernel take no more of an answer than `SEND_BYTES` before its client reads."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)


def num_unread(descriptor: int) -> int:
    """Return how many bytes the other side of a connection has not taken; 0 if it is gone or closed (-1)."""
    if descriptor < 0:
        return 0
    events = select.poll()
    events.register(descriptor, 0)
    if events.poll(0):  # an error or the end of both ways, which need not be asked for
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def drop_unread(connection: socket.socket) -> None:
    """Have a connection forget what was not read once it is closed: its client sees a reset."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
