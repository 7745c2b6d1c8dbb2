"""The three pages over HTTP, on a free port of this machine's loopback."""

from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest

from worker.health import Health


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
        "127.0.0.1", 0, live=lambda: _WORKER.dead, ready=lambda: _WORKER.unready, metrics=lambda: b"metric 1\n"
    )
    yield found
    found.close()


def get(health: Health, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", health.port, timeout=5)
    try:
        connection.request("GET", path)
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


def test_a_closed_server_listens_no_more() -> None:
    health = Health("127.0.0.1", 0, live=str, ready=str, metrics=bytes)
    assert get(health, "/livez")[0] == 200
    health.close()
    with pytest.raises(ConnectionRefusedError):
        get(health, "/livez")
