"""Whom the page of an experiment answers, with what headers, and what it refuses."""

import errno
import os
import socket
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tests.support.experiment.page_client import SOURCE, client, guarded
from worker.core.errors import BadSettings
from worker.experiment.page.access import HEADERS
from worker.experiment.page.app import _body
from worker.experiment.page.serving import listen, serve
from worker.experiment.page.tries import MAX_ADDRESSES, MAX_WRONG, WINDOW_S, Tries


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/experiments/home-ranker-7", "/api/experiments", "/static/page.css", "/login"])
def test_an_experiment_page_is_read_only(method: str, path: str) -> None:
    """Nothing but GET and HEAD is answered."""
    answer = client().request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/experiments/home-ranker-7", "/api/experiments", "/static/page.css", "/nowhere"])
def test_an_experiment_page_answers_head_as_get_without_a_body(path: str) -> None:
    """Status and length are those of GET."""
    page = client()
    head, got = page.head(path), page.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "host"),
    [("GET", "/", ""), ("GET", "/static/live.js", ""), ("GET", "/no", ""), ("PUT", "/", ""), ("GET", "/", "evil.org"),
     ("GET", "/api/version", ""), ("GET", "/api/no", "")],
)  # fmt: skip
def test_every_answer_of_an_experiment_page_is_sealed(method: str, path: str, host: str) -> None:
    """A refusal carries the same headers as a page; the policy lets nothing in from elsewhere and nobody frame it."""
    answer = client().request(method, path, headers={"Host": host} if host else {})
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'self'", "'none'")
    assert "cache-control" in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8642", 200), ("[::1]:8642", 200), ("LOCALHOST:1", 200), ("evil.org", 421),
     ("localhost.evil.org", 421), ("127.0.0.1.evil.org:80", 421), ("evil.org:localhost", 421), ("[::1", 421)],
)  # fmt: skip
def test_an_experiment_page_on_the_loopback_answers_to_its_own_names_alone(host: str, status: int) -> None:
    """A name that was turned to 127.0.0.1 is not ours: a foreign site could read the page through it."""
    assert client().get("/api/version", headers={"Host": host}).status_code == status


def test_an_experiment_page_with_a_token_lets_nobody_in_without() -> None:
    """A program is told what it lacks, a browser is sent to the form; only what the form needs is open."""
    page = guarded()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret-1"},
                    {"Authorization": "secret-1"}, {"Cookie": "mirrorstream_page=secret-1"}):  # fmt: skip
        answer = page.get("/api/experiments", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert page.get("/api/experiments", headers=[(b"Authorization", b"Bearer s\xe9cret")]).status_code == 401
    assert page.get("/api/experiments?token=secret-1").status_code == 401
    assert page.get("/api/experiments", headers={"Authorization": "bearer secret-1"}).status_code == 200
    sent = page.get("/experiments/a", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/experiments/a")
    assert page.get("/static/page.css").status_code == 200


def test_the_login_form_of_an_experiment_page_takes_the_token_once() -> None:
    """It sets a cookie that is not the token, which no script reads and no other site sends, and goes on."""
    page = guarded()
    wrong = page.post("/login", data={"token": "secret", "next": "/"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert "Wrong token." in wrong.text
    right = page.post("/login", data={"token": "secret-1", "next": "/api"}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/api")
    cookie = right.headers["set-cookie"]
    assert "secret-1" not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} == set(cookie.split("; ")[1:])
    assert page.get("/experiments/home-ranker-7").status_code == 200
    assert guarded("secret-2").get("/api/version", headers={"Cookie": cookie}).status_code == 401
    assert page.post("/login", content=b"token=" + b"x" * 10_000).status_code == 413
    assert page.post("/api/version").status_code == 405
    behind = {"X-Forwarded-Proto": "https"}
    sealed = page.post("/login", data={"token": "secret-1"}, headers=behind, follow_redirects=False)
    assert "Secure" in sealed.headers["set-cookie"].split("; ")


def test_an_experiment_page_looks_at_few_wrong_tokens_of_one_address() -> None:
    """Neither the form nor a header tells a guess from the token then; who is in stays in."""
    page = guarded()
    cookie = page.post("/login", data={"token": "secret-1"}, follow_redirects=False).headers["set-cookie"].split(";")[0]
    page.cookies.clear()
    for number in range(MAX_WRONG):
        assert page.post("/login", data={"token": f"guess-{number}"}).status_code == 401
    form = page.post("/login", data={"token": "secret-1"})
    program = page.get("/api/version", headers={"Authorization": "Bearer secret-1"})
    assert [one.status_code for one in (form, program)] == [429, 429]
    assert {one.headers["retry-after"] for one in (form, program)} == {"60"}
    assert page.get("/api/version", headers={"Cookie": cookie}).status_code == 200


def test_an_experiment_page_forgets_wrong_tokens_after_a_minute_and_many_addresses() -> None:
    now = [0.0]
    tries = Tries(lambda: now[0])
    for _ in range(MAX_WRONG):
        assert tries.are_left("a")
        tries.note("a", fits=False)
    assert (tries.are_left("a"), tries.are_left("b")) == (False, True)
    now[0] = WINDOW_S
    assert tries.are_left("a")
    for number in range(2 * MAX_ADDRESSES):
        tries.note(str(number), fits=False)
    assert len(tries._wrong) == MAX_ADDRESSES


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])  # noqa: S104 - none is bound
def test_an_experiment_page_that_others_reach_wants_a_token_or_a_word(host: str) -> None:
    with pytest.raises(BadSettings, match="want --token-file, or --allow-anonymous"):
        serve(SOURCE, host=host, port=0)


@pytest.mark.parametrize("after", ["//evil.org", "/\\evil.org", "https://evil.org", "javascript:x", "", "/a\nb"])
def test_the_login_form_of_an_experiment_page_leads_nowhere_else(after: str) -> None:
    """An address of another site in `next` is not followed."""
    answer = guarded().post("/login", data={"token": "secret-1", "next": after}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_an_empty_token_of_an_experiment_page_is_refused() -> None:
    """It would let everybody in who sends nothing."""
    with pytest.raises(ValueError, match="token: empty"):
        guarded("")


def test_an_experiment_page_whose_address_is_taken_says_so() -> None:
    """The address is tried before anything is said of it."""
    with listen("127.0.0.1", 0) as taken, pytest.raises(BadSettings, match="choose another with --host and --port"):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_all_addresses_are_those_of_ipv4_where_there_is_no_other(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel or by its settings; another address or another failure is none of this one's."""
    bind = socket.create_server

    def without(address: tuple[str, int], **how: Any) -> socket.socket:
        if ":" in address[0]:
            raise OSError(error, os.strerror(error))
        return bind(address, **how)

    monkeypatch.setattr(socket, "create_server", without)
    with listen("::", 0) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"  # noqa: S104 - what is claimed
    with pytest.raises(BadSettings, match="choose another with --host"):
        listen("::1", 0)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_experiment_page_on_all_addresses_is_reached_by_both_families() -> None:
    """`::` is what a pod listens on: the cluster may have IPv6, IPv4 or both."""
    with listen("::", 0) as listening:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listening.getsockname()[1])).close()


async def test_a_browser_that_leaves_in_the_middle_of_the_login_form_is_no_error() -> None:
    """It logged a traceback of 39 lines each time, without any token."""

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "path": "/login", "headers": []}, receive)
    with pytest.raises(HTTPException) as caught:
        await _body(request)
    assert caught.value.status_code == 400


def test_an_experiment_page_refuses_a_request_of_two_lengths() -> None:
    """A proxy in front may see another end of it than we do, and take what follows for another's request."""
    lengths = {"Content-Length": "6", "Transfer-Encoding": "chunked"}
    answer = client().get("/", headers=lengths)
    assert (answer.status_code, answer.headers["Connection"]) == (400, "close")
