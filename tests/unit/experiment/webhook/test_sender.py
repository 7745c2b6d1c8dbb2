"""A call ends within its bound whatever the receiver does, and no message has a secret of the address."""

import socket
import threading
import time
from contextlib import closing

import pytest

from tests.support.experiment.receiver import receiver
from tests.support.patience import patience
from worker.core.errors import BadSettings
from worker.experiment.webhook import sender as module
from worker.experiment.webhook.sender import NotDelivered, Sender

SECRETS = ("me", "s3cret", "hook", "t0ken")


def post(url: str) -> None:
    Sender(url).post({"id": "1"}, lambda: False)


def test_a_body_is_posted_with_the_credentials_of_the_address() -> None:
    with receiver() as made:
        post(made.url)
        assert made.got == [("/hook?key=t0ken", "Basic bWU6czNjcmV0", {"id": "1"})]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_2xx_is_not_delivered_and_no_redirect_is_followed(status: int) -> None:
    with receiver() as made:
        made.status = status
        with pytest.raises(NotDelivered, match=f"HTTP status {status}, want 2xx"):
            post(made.url)
        assert len(made.got) == 1


def test_a_receiver_that_is_down_or_slow_ends_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(NotDelivered, match=r"no answer \(ConnectError\)"):
        post(f"http://127.0.0.1:{port}/")
    with receiver() as made:
        made.slow = True
        start_s = time.monotonic()
        with pytest.raises(NotDelivered, match="no answer"):
            post(made.url)
        assert time.monotonic() - start_s < patience(3)


def test_a_receiver_that_answers_drop_by_drop_ends_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.3)
    with receiver() as made:
        made.dripping = True
        start_s = time.monotonic()
        with pytest.raises(NotDelivered, match="no answer within 0 s"):
            post(made.url)
        assert time.monotonic() - start_s < patience(3)


def test_a_stop_gives_a_call_up() -> None:
    with receiver() as made:
        made.slow = True
        start_s = time.monotonic()
        with pytest.raises(NotDelivered, match="stopped"):
            Sender(made.url).post({"id": "1"}, lambda: bool(made.got))
        assert time.monotonic() - start_s < patience(3, below_s=module.CALL_S)


def test_messages_show_the_host_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.3)
    caplog.set_level("INFO")
    with receiver() as made:
        made.status = 500
        sender = Sender(made.url)
        with pytest.raises(NotDelivered) as failed:
            sender.post({"id": "1"}, lambda: False)
        assert sender.shown == f"http://127.0.0.1:{made.server_port}"
    said = f"{failed.value} {sender.shown} {caplog.text}"
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://s3cret@example.org", "http://", "file:///s3cret", "http://h:s3cret"]
)
def test_an_address_that_cannot_be_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(
        BadSettings, match=r"--on-verdict-change: .*want http://HOST/\.\.\. or https://HOST/"
    ) as refused:
        Sender(url)
    assert "s3cret" not in str(refused.value)


def test_a_name_server_that_hangs_holds_neither_a_call_nor_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up goes on in a daemon thread; the call ends within its bound, and a stop at once."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(module, "CALL_S", 0.2)
    before = threading.active_count()
    for is_stopped in (lambda: False, lambda: True):
        with pytest.raises(NotDelivered):
            Sender("http://receiver.example/hook").post({}, is_stopped)
    waiting = [one for one in threading.enumerate() if one is not threading.main_thread()][before - 1 :]
    assert all(thread.daemon for thread in waiting)
    released.set()
