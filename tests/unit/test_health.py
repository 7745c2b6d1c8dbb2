"""The three pages over HTTP, on a free port of this machine's loopback."""

from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from http.client import HTTPConnection

import pytest

from worker.commands import accept_dead_letters
from worker.health import Health, _is_here


@dataclass
class Worker:
    """Why not, by page; "" is well."""

    dead: str = ""
    unready: str = ""


_WORKER = Worker()


@pytest.fixture
def worker() -> Worker:
    """Give the worker of the one server, well again."""
    _WORKER.dead = _WORKER.unready = ""
    return _WORKER


@pytest.fixture(scope="module")
def health() -> Iterator[Health]:
    """Serve once; closing takes a moment."""
    found = Health(
        "127.0.0.1",
        0,
        live=lambda: _WORKER.dead,
        ready=lambda: _WORKER.unready,
        metrics=lambda: b"metric 1\n",
        accept=lambda num_next: f"accepted, and {num_next} more",
    )
    yield found
    found.close()


def get(health: Health, path: str) -> tuple[int, str]:
    return call(health, "GET", path)


def call(health: Health, method: str, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", health.port, timeout=5)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose"])
def test_a_worker_that_is_well_says_ok(health: Health, worker: Worker, path: str) -> None:
    assert get(health, path) == (200, "ok\n")


def test_each_page_has_its_own_reason_why_not(health: Health, worker: Worker) -> None:
    worker.unready = "the registry is away"
    assert get(health, "/readyz") == (503, "the registry is away\n")
    assert get(health, "/livez") == (200, "ok\n")
    worker.dead, worker.unready = "the poll thread stands still", ""
    assert get(health, "/livez") == (503, "the poll thread stands still\n")
    assert get(health, "/readyz") == (200, "ok\n")


def test_metrics_are_given_even_by_a_worker_that_is_not_well(health: Health, worker: Worker) -> None:
    worker.dead = worker.unready = "dying"
    assert get(health, "/metrics") == (200, "metric 1\n")


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez/", "/../etc/passwd"])
def test_any_other_page_is_not_found_and_names_those_that_are(health: Health, path: str) -> None:
    status, text = get(health, path)
    assert status == 404
    assert "/livez, /readyz or /metrics" in text


def test_the_breaker_is_closed_by_a_call_from_here(health: Health) -> None:
    assert call(health, "POST", "/breaker/accept") == (200, "accepted, and 0 more\n")
    assert call(health, "POST", "/breaker/accept?next=70") == (200, "accepted, and 70 more\n")
    assert call(health, "POST", "/breaker/accept?next=-1")[0] == 400
    assert call(health, "POST", f"/breaker/accept?next={'9' * 5_000}")[0] == 400
    assert call(health, "GET", "/breaker/accept")[0] == 404
    assert call(health, "POST", "/livez")[0] == 404


def test_the_command_closes_it_and_no_count_of_its_is_too_long(health: Health) -> None:
    assert accept_dead_letters(f"http://127.0.0.1:{health.port}", 9_999_999) == "accepted, and 9999999 more"
    assert accept_dead_letters(f"http://LocalHost:{health.port}/", 0) == "accepted, and 0 more"
    assert call(health, "POST", "/breaker/accept?next=10000000")[0] == 400


@pytest.mark.parametrize(
    "header",
    [
        "Host",
        "Origin",
        "X_Forwarded_For",
        "Forwarded",
        "Via",
        "X_Forwarded_Client_Cert",
        "l5d_client_id",
        "X_Real_IP",
        "Cookie",
    ],
)
def test_a_call_that_was_passed_on_does_not_close_the_breaker(health: Health, header: str) -> None:
    """A page in a browser on this machine, or the proxy of a mesh, also calls from the loopback."""
    assert call(health, "POST", "/breaker/accept", **{header: "https://example.org"})[0] == 403


@pytest.mark.parametrize(
    ("names", "here"),
    [
        (["127.0.0.1"], True), (["localhost:8080"], True), (["[::1]:8080"], True), (["LOCALHOST"], True),
        (["mirrorstream.example.org"], False), (["10.1.2.3:8080"], False), (["localhost.example.org"], False),
        (["me@localhost"], False), (["localhost:"], False), ([""], False), ([], False),
        (["localhost", "example.org"], False),
    ],
)  # fmt: skip
def test_a_call_that_asks_for_another_name_is_from_elsewhere(names: list[str], *, here: bool) -> None:
    assert _is_here("127.0.0.1", headers(names)) is here


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("127.0.0.1", True), ("::1", True),
        ("127.0.0.6", False), ("10.1.2.3", False), ("::ffff:127.0.0.1", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_only_the_loopback_is_here(peer: str, *, here: bool) -> None:
    assert _is_here(peer, headers(["localhost"])) is here


def headers(names: list[str]) -> Message:
    """Give headers with these hosts."""
    return message_from_string("".join(f"Host: {name}\n" for name in names) + "\n")


def test_a_closed_server_listens_no_more() -> None:
    health = Health("127.0.0.1", 0, live=str, ready=str, metrics=bytes, accept=str)
    assert get(health, "/livez")[0] == 200
    health.close()
    with pytest.raises(ConnectionRefusedError):
        get(health, "/livez")
