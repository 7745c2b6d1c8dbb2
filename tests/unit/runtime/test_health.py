"""The three pages over HTTP, on a free port of this machine's loopback; whoever else holds connections to it."""

import errno
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.hanging_clients import KINDS, hanging
from tests.support.patience import patience
from worker.cli.replay import accept_dead_letters
from worker.core.blockers import Blocker
from worker.runtime import health as module
from worker.runtime.health import Health, _is_here
from worker.runtime.health_state import HealthState
from worker.runtime.metrics.formats import OPENMETRICS
from worker.system.all_addresses import ALL_IPV4

PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


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
    state = HealthState()
    state.works(
        live=lambda: _WORKER.dead,
        blockers=lambda: {Blocker.SCHEMA: _WORKER.unready},
        accept=lambda num_next: f"accepted, and {num_next} more",
    )
    found = Health("127.0.0.1", 0, state=state, metrics=lambda _: (b"metric 1\n", "text/plain"), page=str)
    yield found
    found.close()


def nothing(_: str) -> tuple[bytes, str]:
    return b"", "text/plain"


def get(health: Health, path: str) -> tuple[int, str]:
    return call(health, "GET", path)


def call(health: Health, method: str, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", health.port, timeout=patience(5))
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_for_people_is_html_that_may_load_nothing() -> None:
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=nothing, page=lambda: "<p>Ready</p>")
    connection = HTTPConnection("127.0.0.1", health.port, timeout=patience(5))
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"<p>Ready</p>")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
    finally:
        connection.close()
        health.close()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose"])
def test_a_worker_that_is_well_says_ok(health: Health, worker: Worker, path: str) -> None:
    assert get(health, path) == (200, "ok\n")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "<script>x</script>"])
def test_a_request_of_another_method_is_refused_in_plain_text(health: Health, method: str) -> None:
    with socket.create_connection(("127.0.0.1", health.port), timeout=patience(5)) as connection:
        connection.sendall(f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(4_096), b"")).partition(b"\r\n\r\n")
    assert b"content-type: text/plain; charset=utf-8" in head.lower()
    assert b"<" not in body


def test_a_reason_with_a_name_that_utf8_has_not_is_told(health: Health, worker: Worker) -> None:
    worker.unready = b"cannot read name\xff".decode(errors="surrogateescape")
    assert get(health, "/readyz") == (503, "cannot read name\\udcff\n")
    people = Health("127.0.0.1", 0, state=HealthState(), metrics=nothing, page=lambda: worker.unready)
    try:
        assert get(people, "/") == (200, "cannot read name\\udcff")
    finally:
        people.close()


def test_each_page_has_its_own_reason_why_not(health: Health, worker: Worker) -> None:
    worker.unready = "the registry is away"
    assert get(health, "/readyz") == (503, "the registry is away\n")
    assert get(health, "/livez") == (200, "ok\n")
    worker.dead, worker.unready = "the poll thread stands still", ""
    assert get(health, "/livez") == (503, "the poll thread stands still\n")
    assert get(health, "/readyz") == (200, "ok\n")


def test_a_worker_has_started_once_its_engine_is_warm_whatever_is_away() -> None:
    """A start-up probe that asked for more would restart a worker that waits for Kafka, and load its model again."""
    state = HealthState()
    health = Health("127.0.0.1", 0, state=state, metrics=nothing, page=str)
    try:
        assert get(health, "/startupz") == (503, "the engine is loading\n")
        state.engine_is_warm()
        state.waits(Blocker.START, "Kafka at kafka:9092 does not answer")
        assert get(health, "/startupz") == (200, "ok\n")
        assert get(health, "/readyz") == (503, "Kafka at kafka:9092 does not answer\n")
        state.works(live=lambda: "stuck", blockers=lambda: {Blocker.BREAKER: "breaker open"}, accept=str)
        assert get(health, "/startupz") == (200, "ok\n")
    finally:
        health.close()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_of_all_addresses_answers_both_families(host: str) -> None:
    """IPv4's callers have mapped addresses there; one from this machine closes the breaker all the same."""
    state = HealthState()
    state.works(live=str, blockers=dict, accept=lambda num_next: f"{num_next} more")
    health = Health("::", 0, state=state, metrics=nothing, page=str)
    connection = HTTPConnection(host, health.port, timeout=patience(5))
    try:
        connection.request("POST", "/breaker/accept?next=7")
        assert connection.getresponse().read() == b"7 more\n"
    finally:
        connection.close()
        health.close()


def test_a_port_of_all_addresses_needs_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has none, all addresses are IPv4's; another failure is none of this one's."""

    class Without(module._Server):
        def __init__(self, address: tuple[str, int], pages: module._Pages) -> None:
            if ":" in address[0]:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(address, pages)

    monkeypatch.setattr(module, "_Server", Without)
    health = Health("::", 0, state=HealthState(), metrics=nothing, page=str)
    try:
        assert get(health, "/livez") == (200, "ok\n")
    finally:
        health.close()
    with pytest.raises(OSError, match="not supported"):
        Health("::1", 0, state=HealthState(), metrics=nothing, page=str)


def test_metrics_are_given_even_by_a_worker_that_is_not_well(health: Health, worker: Worker) -> None:
    worker.dead = worker.unready = "dying"
    assert get(health, "/metrics") == (200, "metric 1\n")


def test_metrics_are_made_once_for_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    num = iter(range(9))
    metrics = module._Once(lambda accept: (str(next(num)).encode(), accept))
    assert [metrics("a"), metrics("b"), metrics("text/plain;version=9")] == [(b"0", "")] * 3
    clock.sleep(2 * module.SAME_S)
    assert metrics("a") == (b"1", "")
    assert metrics(OPENMETRICS) == (b"2", OPENMETRICS)  # another format is another answer
    assert (metrics(f"{OPENMETRICS}, a"), metrics("c")) == ((b"2", OPENMETRICS), (b"1", ""))


def test_a_post_to_an_address_that_is_none_is_answered(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    assert call(health, "POST", "http://[", Host="localhost")[0] == 404
    assert caplog.messages == []


@pytest.mark.parametrize("path", ["/index.html", "/healthz", "/livez/", "/../etc/passwd"])
def test_any_other_page_is_not_found_and_names_those_that_are(health: Health, path: str) -> None:
    status, text = get(health, path)
    assert status == 404
    assert "/startupz, /livez, /readyz or /metrics" in text


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


@pytest.mark.parametrize("path", ["/", "/metrics", "/readyz", "/no-such"])
def test_a_foreign_page_whose_name_was_turned_to_the_loopback_reads_nothing(
    health: Health, worker: Worker, path: str
) -> None:
    """DNS rebinding: the browser asks for the page's own name, and believes that it may read what comes."""
    status, text = call(health, "GET", path, Host="rebound.example:8080")
    assert status == 421
    assert text == "Host 'rebound.example:8080'; want localhost, 127.0.0.1 or [::1]\n"
    assert call(health, "GET", "/readyz", Host=f"localhost:{health.port}") == (200, "ok\n"), worker


def test_a_port_that_others_reach_answers_to_any_name() -> None:
    """Probes name the pod's address, scrapers a service, a mesh whatever it was asked for."""
    health = Health(ALL_IPV4, 0, state=HealthState(), metrics=nothing, page=str)
    try:
        assert call(health, "GET", "/metrics", Host="mirrorstream.shadow.svc:8080")[0] == 200
    finally:
        health.close()


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
        ("::ffff:127.0.0.1", True), ("::ffff:127.0.0.6", False),
        ("127.0.0.6", False), ("10.1.2.3", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_only_the_loopback_is_here(peer: str, *, here: bool) -> None:
    assert _is_here(peer, headers(["localhost"])) is here


def headers(names: list[str]) -> Message:
    """Give headers with these hosts."""
    return message_from_string("".join(f"Host: {name}\n" for name in names) + "\n")


def test_a_closed_server_listens_no_more() -> None:
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=nothing, page=str)
    assert get(health, "/livez")[0] == 200
    health.close()
    with pytest.raises(ConnectionRefusedError):
        get(health, "/livez")


# -- who holds connections


def num_descriptors(health: Health) -> int:
    """Return how many sockets of the server's port this process holds; what other tests left open does not count."""
    return sum(_port(one) == health.port for one in Path("/proc/self/fd").iterdir())


def _port(descriptor: Path) -> int | None:
    """Return the local port of a descriptor; None if it is none of TCP's, or was closed a moment ago."""
    with suppress(OSError):
        if descriptor.is_socket():
            with socket.socket(fileno=os.dup(int(descriptor.name))) as found:
                return int(found.getsockname()[1]) if found.family == socket.AF_INET else None
    return None


def num_connections(health: Health) -> int:
    return len(health._server._connections)


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + patience(5)
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert holds()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: a\r\nX: "])
def test_connections_that_ask_for_nothing_take_no_slot_from_probes(health: Health, worker: Worker, sent: bytes) -> None:
    """300 of them: the pages answer within a second, few descriptors are held, and none afterwards."""
    until(lambda: num_connections(health) == 0)
    assert num_descriptors(health) == 1, "only the one that listens"
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", health.port))).sendall(sent)
        for path in ("/livez", "/metrics", "/readyz"):
            start_s = time.monotonic()
            assert get(health, path)[0] == 200
            assert time.monotonic() - start_s < patience(5)  # 0.1 s alone
        until(lambda: num_descriptors(health) <= 1 + module.MAX_CONNECTIONS)
        assert num_connections(health) <= module.MAX_CONNECTIONS
    until(lambda: num_descriptors(health) == 1)
    assert num_connections(health) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_scrape_is_answered_whoever_holds_a_thousand_connections(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Few threads, few descriptors, bounded memory, a line or two in the log, and nothing left of them afterwards.

    The kernel's memory, too: what a thousand clients did not read of their answers stood there, and went on growing.
    """
    page = bytes(300_000)  # more than the kernel takes for a client that does not read
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=lambda _: (page, "text/plain"), page=str)
    before, before_mib, before_kernel = threading.active_count(), rss_mib(), kernel_mib()
    slowest_s, most_threads, most_kernel = 0.0, 0, 0.0
    try:
        with hanging(health.port, 1_000, kind):
            for _ in range(20):
                start_s = time.monotonic()
                status, text = get(health, "/metrics")
                slowest_s = max(slowest_s, time.monotonic() - start_s)
                most_threads = max(most_threads, threading.active_count() - before)
                most_kernel = max(most_kernel, kernel_mib() - before_kernel)
                assert (status, len(text)) == (200, len(page))
                assert num_connections(health) <= module.MAX_CONNECTIONS
        assert slowest_s < patience(2)  # 0.1 s alone
        assert most_threads <= 2 * module.MAX_CONNECTIONS  # those that are closed end a moment later
        assert rss_mib() - before_mib < 64
        assert most_kernel < 64  # of all the machine's connections; 340 before
        until(lambda: num_connections(health) == 0)
        until(lambda: threading.active_count() <= before)
    finally:
        health.close()
    assert len(caplog.messages) <= 2
    told = capfd.readouterr()
    assert "Traceback" not in caplog.text + told.out + told.err


def kernel_mib() -> float:
    """Return what TCP's connections of this machine hold in the kernel."""
    return int(re.findall(r"TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text())[0]) * PAGE_MIB


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_MIB


@pytest.mark.parametrize("slowly", [False, True])
def test_a_request_that_does_not_arrive_is_given_up(
    health: Health, monkeypatch: pytest.MonkeyPatch, *, slowly: bool
) -> None:
    """Also one that sends a byte now and then."""
    monkeypatch.setattr(module, "REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", health.port), timeout=patience(3)) as held:
        held.settimeout(0.05)
        start_s, ended = time.monotonic(), False
        while not ended and time.monotonic() - start_s < patience(3):
            try:
                if slowly:
                    held.sendall(b"G")
                ended = held.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                ended = True
        assert ended
        assert time.monotonic() - start_s < patience(2)


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=lambda _: (bytes(50_000_000), "text/plain"), page=str)
    try:
        with socket.create_connection(("127.0.0.1", health.port)) as held:
            held.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            until(lambda: num_connections(health) == 1)
            until(lambda: num_connections(health) == 0)
            assert get(health, "/livez")[0] == 200
    finally:
        health.close()


def test_a_scraper_that_hangs_up_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """Before its request is whole, and in the middle of its answer; with a reset, as a time-out of Prometheus ends."""
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=lambda _: (bytes(50_000_000), "text/plain"), page=str)
    try:
        for sent in (b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", health.port)) as scraper:
                scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                scraper.sendall(sent)
                until(lambda: num_connections(health) == 1)
            until(lambda: num_connections(health) == 0)
        assert get(health, "/livez")[0] == 200
    finally:
        health.close()
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


@pytest.mark.parametrize("head", [b"GET /" + b"a" * 20_000, b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 4_000])
def test_a_long_head_is_refused(health: Health, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", health.port), timeout=patience(5)) as held:
        held.sendall(head)
        assert held.recv(100).startswith(b"HTTP/1.0 431 ")


def test_without_a_descriptor_left_the_port_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no descriptor, and no more CPU than a look every tenth of a second."""
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=nothing, page=str)
    num_tries, accept = 0, ThreadingHTTPServer.get_request

    def none_left(server: ThreadingHTTPServer) -> object:
        nonlocal num_tries
        num_tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    try:
        monkeypatch.setattr(ThreadingHTTPServer, "get_request", none_left)
        start_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", health.port)):
            until(lambda: num_tries > 0)
            time.sleep(0.5)
        assert num_tries <= 5 + (time.monotonic() - start_s) / 0.1
        monkeypatch.setattr(ThreadingHTTPServer, "get_request", accept)
        assert get(health, "/livez")[0] == 200
    finally:
        health.close()


def test_a_failure_of_the_port_is_none_of_the_worker_and_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(server: module._Server) -> None:
        monkeypatch.undo()
        raise RuntimeError("the port fails")

    monkeypatch.setattr(module._Server, "service_actions", fails)
    health = Health("127.0.0.1", 0, state=HealthState(), metrics=nothing, page=str)
    try:
        assert get(health, "/livez")[0] == 200
    finally:
        health.close()


def test_a_page_that_fails_is_an_error_and_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: str) -> tuple[bytes, str]:
        raise ValueError("no metrics")

    health = Health("127.0.0.1", 0, state=HealthState(), metrics=fails, page=str)
    try:
        assert get(health, "/metrics") == (500, "failed: ValueError\n")
        assert "/metrics failed" in caplog.text
        assert "ValueError: no metrics" in caplog.text
        assert get(health, "/livez")[0] == 200
    finally:
        health.close()
