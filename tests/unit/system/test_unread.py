"""What the kernel holds for a client that reads late, or never, or is gone."""

import socket

from worker.system import unread


def test_what_a_client_has_not_taken_is_counted_until_it_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(listening.getsockname())
        served, _ = listening.accept()
        unread.bound(served)
        assert unread.num_unread(served.fileno()) == 0
        served.setblocking(False)
        sent = served.send(bytes(1 << 20))
        assert 0 < unread.num_unread(served.fileno()) <= sent <= 4 * unread.SEND_BYTES
        client.close()  # with unread bytes: a reset
        assert unread.num_unread(served.fileno()) == 0
        served.close()
        assert unread.num_unread(served.fileno()) == 0, "closed here"
