"""The routes of the page.

    /                       the index, or the experiment if there is but one
    /experiments/{key}      one experiment; ?epoch= and ?candidate= choose among several
    /api, /api/...          JSON and its reference
    /metrics                verdicts and failed checks for Prometheus; behind the token like everything else
    /login                  only where there is a token
    /static/...             what the pages need; nothing comes from elsewhere

Routes are `async` and ask the source in the event loop: one that keeps a database connection is never asked from two
threads.  The page says of which version it is, read before the report, so that a change in between is shown next.
"""

import re
import time
from collections.abc import Collection
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import worker
from worker.experiment.page import api, prometheus, reference, views
from worker.experiment.page.access import (
    COOKIE,
    LOGIN,
    LOOPBACK,
    RETRY,
    TOO_MANY,
    Access,
    Token,
    TooManyTries,
    address_of,
)
from worker.experiment.page.addresses import find, page_of
from worker.experiment.page.ports import FigureSource
from worker.experiment.page.rendering import HERE, environment
from worker.experiment.webhook.deliveries import Outbound

MAX_FORM_BYTES = 4_096  # the login form's
FAILED = 500  # the status of a request whose handler raised


def create_app(
    source: FigureSource,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    deliveries: Outbound | None = None,
) -> FastAPI:
    """Return the application; `hosts` are the names that it answers to, None for any."""
    app = FastAPI(
        title="Mirrorstream experiments",
        version=worker.__version__,
        description=api.__doc__ or "",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    secret = Token(token) if token is not None else None
    pages = Pages(source, app, deliveries)
    app.include_router(api.router(source, token=secret is not None))
    app.add_api_route("/", pages.index, include_in_schema=False)
    app.add_api_route("/experiments/{key}", pages.experiment, include_in_schema=False)
    app.add_api_route("/api", pages.reference, include_in_schema=False)
    app.add_api_route("/metrics", pages.metrics, include_in_schema=False)
    app.add_api_route("/api/openapi.json", pages.document, include_in_schema=False)
    if secret is not None:
        login = Login(secret, pages)
        app.add_api_route(LOGIN, login.form, methods=["GET"], include_in_schema=False)
        app.add_api_route(LOGIN, login.check, methods=["POST"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(HTTPException, pages.problem)
    app.add_middleware(Access, token=secret, hosts=hosts)
    app.add_middleware(RequestCounting, requests=pages.requests)
    return app


class Pages:
    """The pages for people."""

    def __init__(self, source: FigureSource, app: FastAPI, deliveries: Outbound | None) -> None:
        """Show the figures of `source`; `app` describes its own API; `deliveries` says what is told outside."""
        self._source, self._app, self._deliveries = source, app, deliveries
        self._templates = environment()
        self.requests = prometheus.Requests()

    async def index(self) -> Response:
        """Show all experiments, or go to the only one."""
        now, report = self._source.version(), self._source.report()
        if len(report.readouts) == 1:
            return RedirectResponse(page_of(report.readouts[0].experiment_id), 302)
        return self.render("index.html", version=now, entries=views.index(report.readouts), report=report)

    async def experiment(self, key: str, epoch: str | None = None, candidate: str | None = None) -> Response:
        """Show one experiment."""
        now, report = self._source.version(), self._source.report()
        readout = find(report.readouts, key)
        page = readout and views.page(readout, epoch=epoch, candidate=candidate)
        if page is None:
            raise HTTPException(404, "No such experiment, epoch or candidate.")
        return self.render("experiment.html", version=now, page=page, report=report)

    async def reference(self) -> Response:
        """Show the reference of the API."""
        document = reference.tidy(self._app.openapi())
        operations, shapes = reference.operations(document), reference.shapes(document)
        return self.render("reference.html", document=document, operations=operations, shapes=shapes)

    async def document(self) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(reference.tidy(self._app.openapi()))

    async def metrics(self) -> Response:
        """Return verdicts and failed checks as Prometheus metrics, and what the page and its reader did."""
        text = prometheus.exposition(self._source.report(), self._deliveries, self.requests)
        return Response(text, media_type=prometheus.CONTENT_TYPE)

    async def problem(self, request: Request, error: Exception) -> Response:
        """Show an error; under `/api/` as JSON."""
        assert isinstance(error, HTTPException)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": error.detail}, error.status_code)
        shown = self.render("message.html", status=error.status_code, code=error.status_code, words=error.detail)
        shown.headers.update(error.headers or {})
        return shown

    def render(self, template: str, *, status: int = 200, **shown: object) -> HTMLResponse:
        """Fill a template."""
        return HTMLResponse(self._templates.get_template(template).render(shown), status)


class RequestCounting:
    """Counts the requests of an app, by when their answer begins."""

    def __init__(self, app: ASGIApp, requests: prometheus.Requests) -> None:
        """Wrap `app`."""
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; one that fails before its answer begins is answered with 500 further out."""
        began_s, is_counted = time.monotonic(), scope["type"] != "http"

        def count(status: int) -> None:
            nonlocal is_counted
            if not is_counted:
                self._requests.answered(status, time.monotonic() - began_s)
                is_counted = True

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            count(FAILED)
            raise


class Login:
    """A form, because browsers send no bearer token of their own accord."""

    def __init__(self, token: Token, pages: Pages) -> None:
        """Check against `token`."""
        self._token, self._pages = token, pages

    async def form(self, request: Request) -> Response:
        """Show the form."""
        return self._pages.render("login.html", next=_local(request.query_params.get("next", "/")), wrong=False)

    async def check(self, request: Request) -> Response:
        """Set the cookie and redirect to the page that was asked for."""
        fields = parse_qs((await _body(request)).decode(errors="replace"))
        after = _local(fields.get("next", ["/"])[0])
        try:
            fits = self._token.fits(fields.get("token", [""])[0].strip(), address_of(request.scope))
        except TooManyTries:
            raise HTTPException(429, TOO_MANY, RETRY) from None
        if not fits:
            return self._pages.render("login.html", status=401, next=after, wrong=True)
        answer = RedirectResponse(after, 303)
        # The proxy with TLS says so.  Whoever forges it has only their own cookie kept from plain HTTP.
        secure = "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "").lower()}
        answer.set_cookie(COOKIE, self._token.cookie, httponly=True, samesite="strict", secure=secure)
        return answer


async def _body(request: Request) -> bytes:
    """Read a form of at most `MAX_FORM_BYTES`."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise HTTPException(413, "The form is too long.")
    except ClientDisconnect:  # nobody is there to be answered
        raise HTTPException(400, "The form did not arrive.") from None
    return body


def _local(address: str) -> str:
    r"""Return a path of this page, "/" for an address that leads elsewhere.

    >>> [_local(address) for address in ("/experiments/a", "//evil.org", "/\\evil.org", "https://evil.org", "")]
    ['/experiments/a', '/', '/', '/', '/']
    """
    return address if re.fullmatch(r"/(?![/\\])[!-~]*", address) else "/"
