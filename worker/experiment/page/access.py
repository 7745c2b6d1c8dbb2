"""Access control and response headers, applied before any route is chosen.

    Host     on the loopback, only its own names: a foreign page whose name was turned to 127.0.0.1 (DNS rebinding) is
             refused with 421
    method   GET and HEAD; anything else is 405, because nothing here can be changed.  The one exception is the login
             form, which exists where there is a token
    token    as `Authorization: Bearer`, or as the cookie that the login form sets, because a browser sends no such
             header of its own accord.  A token in an address would be kept by histories and proxies, so none is read

The cookie is not the token but a keyed digest of it, and both are compared in constant time.  After a few wrong tokens
from one address further ones are not looked at for a while (`tries`).
"""

import hmac
import re
from collections.abc import Collection
from hashlib import sha256
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.experiment.page.tries import WINDOW_S, Tries

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
LOGIN = "/login"
STATIC = "/static/"
METRICS = "/metrics"  # experiments' names and verdicts are no less secret than the page
COOKIE = "mirrorstream_page"
READS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
TOO_MANY = "Too many wrong tokens from this address; try again in a minute."
RETRY = {"Retry-After": f"{WINDOW_S:g}"}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::\d{1,5})?")


class TooManyTries(Exception):
    """There were too many wrong tokens from one address."""


class Token:
    """The bearer token of the page."""

    def __init__(self, token: str) -> None:
        """Raise `ValueError` for an empty token, which would admit everybody."""
        if not token:
            message = "token: empty, want a secret of some length or none at all"
            raise ValueError(message)
        self._token, self._tries = token.encode(), Tries()
        self.cookie = hmac.new(self._token, b"mirrorstream experiment page", sha256).hexdigest()

    def fits(self, given: str, address: str) -> bool:
        """Return whether this is the token, in constant time.

        Raises `TooManyTries`, whatever is given, after some wrong ones from this address.
        """
        if not self._tries.are_left(address):
            raise TooManyTries
        fits = hmac.compare_digest(given.encode(errors="replace"), self._token)
        self._tries.note(address, fits=fits)
        return fits

    def admits(self, headers: Headers, address: str) -> bool:
        """Return whether a request carries the cookie of the token or the token itself.  Raises `TooManyTries`."""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if hmac.compare_digest(cookie.encode(errors="replace"), self.cookie.encode()):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.fits(given.strip(), address)


class Access:
    """The middleware in front of the application."""

    def __init__(self, app: ASGIApp, *, token: Token | None, hosts: Collection[str] | None) -> None:
        """Admit requests with `token`, if there is one, to one of `hosts`; None admits any host name."""
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        # FastAPI's routes know no HEAD; the server, which does, sends no body.
        asked = dict(scope, method="GET") if scope["method"] == "HEAD" else scope
        await (refused or self._app)(asked, receive, _sealed(send))

    def _refused(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._hosts is not None and not known_host(headers.get("host", ""), self._hosts):
            return PlainTextResponse(f"This page accepts requests for {', '.join(sorted(self._hosts))} only.\n", 421)
        login = self._token is not None and path == LOGIN
        # A proxy may see another end of such a request (RFC 9112, 6.3).
        if "transfer-encoding" in headers and "content-length" in headers:
            return PlainTextResponse("Want one length of a request.\n", 400, {"Connection": "close"})
        if scope["method"] not in READS and not (login and scope["method"] == "POST"):
            return PlainTextResponse("This page is read-only.\n", 405, {"Allow": ", ".join(READS)})
        if self._token is None or login or path.startswith(STATIC):
            return None
        try:
            return None if self._token.admits(headers, address_of(scope)) else _unauthorised(path, headers)
        except TooManyTries:
            return JSONResponse({"detail": TOO_MANY}, 429, RETRY)


def address_of(scope: Scope) -> str:
    """Return from where a request came, as the server sees it: behind a proxy, the proxy."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def known_host(host: str, known: Collection[str]) -> bool:
    """Return whether a Host header names one of these, whatever the port.

    >>> [known_host(host, LOOPBACK) for host in ("localhost:80", "[::1]:80", "LOCALHOST", "localhost.evil.org", "")]
    [True, True, True, False, False]
    """
    found = _HOST.fullmatch(host)
    return found is not None and found[1].lower() in known


def _unauthorised(path: str, headers: Headers) -> Response:
    """Redirect a browser to the login form; answer a program with 401."""
    if "text/html" in headers.get("accept", "") and not path.startswith(("/api/", METRICS)):
        return RedirectResponse(f"{LOGIN}?next={quote(path, safe='/', errors='replace')}", 303)
    body = {"detail": "send the token as Authorization: Bearer"}
    return JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="mirrorstream"'})


def _sealed(send: Send) -> Send:
    """Return `send` with the security headers added to each response."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sealed
