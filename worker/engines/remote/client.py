"""One vLLM server over HTTP: what it is asked, and why it did not answer.

    400, 413, 422            the question's own fault: `ValueError`, and nobody else is asked
    429, 503                 `Busy`: another server may be asked; `Retry-After` is passed on
    no connection            `Unreachable`
    anything else            `Unanswered`, begun: the server may have died of it; so too what cannot be its answer

Cancelling a call closes its connection, and vLLM then aborts the request.  The bearer token is told to nobody else,
whatever a server writes into its errors.  The environment may name proxies and certificates, as for other programs
(`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`; `SSL_CERT_FILE`, `SSL_CERT_DIR`), but this machine is asked
without a proxy.
"""

import asyncio
import math
from collections.abc import Mapping
from contextlib import aclosing, suppress
from ipaddress import ip_address
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from worker.core.errors import BadSettings
from worker.core.service_requests import ServerEnd
from worker.engines.remote import completions_api
from worker.engines.remote.completions_api import CompletionBody

CONNECT_S = 5.0
VERSION_S = 5.0  # for what only provenance wants to know
# vLLM closes an idle connection after 5 s (VLLM_HTTP_TIMEOUT_KEEP_ALIVE); one that we use at that moment looks lost.
KEEP_ALIVE_S = 2.0
OWN_FAULT = frozenset({400, 413, 422})
BUSY = frozenset({429, 503})
BARRED = frozenset({401, 403})
NOT_THERE = frozenset({404, 405})
# As OpenSSL says of a server that does not speak TLS, and as nginx, Go and others of a request without TLS.
PLAIN_ANSWER = "WRONG_VERSION_NUMBER"
TLS_WANTED = b"to an https"
MAX_READ = 2_000  # bytes of an answer that are searched for it
MAX_TOLD = 300  # characters of what a server says that are passed on
MAX_BYTES = 4 << 20  # of an answer: thousands of tokens
MAX_PORT = 65_535


class Unanswered(Exception):
    """A server did not answer; `begun` says whether it may have begun to, `after_s` when it wants to be asked again."""

    end = ServerEnd.FAILED

    def __init__(self, why: str, *, begun: bool, after_s: float = 0.0) -> None:
        """Store the reason, in a few words."""
        super().__init__(why)
        self.begun, self.after_s = begun, after_s


class Busy(Unanswered):
    """It has too much to do."""

    end = ServerEnd.BUSY


class Unreachable(Unanswered):
    """There is no connection to it."""

    end = ServerEnd.UNREACHABLE


class _Model(BaseModel):
    id: str
    max_model_len: int | None = None
    root: str | None = None  # what was loaded, where that is not its name


class _Models(BaseModel):
    data: list[_Model]


class Server:
    """One endpoint, and the requests that it has not answered yet."""

    def __init__(self, url: str, token: str | None) -> None:
        """Parse the address, with or without `/v1` at its end, and the bearer token.  Raises `BadSettings`."""
        self.url = url.rstrip("/").removesuffix("/v1")
        self._token = token
        self.loaded: dict[str, str] = {}  # what it says that it loaded, by the name that it serves it under
        self.heard_s = -math.inf  # when it last answered a request for tokens, in the loop's time
        self._pending: set[asyncio.Timeout] = set()
        self._client = _client(self.url, token)

    @property
    def num_pending(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._pending)

    async def models(self) -> dict[str, int | None]:
        """Return what it serves: the longest sequence by name.  Raises `Unanswered`."""
        try:
            found = _Models.model_validate_json(await self._call("GET", "/v1/models"))
        except ValueError:  # whose own text has what was told
            raise Unanswered("tells no models at /v1/models, as something else would", begun=False) from None
        self.loaded = {model.id: self.told(model.root) for model in found.data if model.root}
        return {model.id: model.max_model_len for model in found.data}

    async def version(self) -> str:
        """Return vLLM's version; a gateway in front of it may not tell."""
        with suppress(TimeoutError, Unanswered, ValueError):
            async with asyncio.timeout(VERSION_S):
                return self.told(_Version.model_validate_json(await self._call("GET", "/version")).version)
        return "unknown"

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> CompletionBody:
        """Have tokens written.  Raises `Unanswered`, and `ValueError` if it will never answer this."""
        content = await self._call("POST", "/v1/completions", json=body, headers=headers)
        try:
            answer = CompletionBody.model_validate_json(content)
        except ValueError:  # whose own text has what was told
            raise Unanswered("tells no completion, as something else would", begun=True) from None
        if answer.choices[0].finish_reason == "abort":  # a server that is told to end answers all it has with this
            raise Unanswered("gave up what it was asked", begun=True)
        try:
            completions_api.check(answer, body)
        except ValueError as error:
            raise Unanswered(f"its answer cannot be read: {error}", begun=True) from error
        self.heard_s = asyncio.get_running_loop().time()
        return answer

    async def metrics(self) -> str:
        """Return its page of metrics.  Raises `Unanswered`, and `ValueError` if it is no text."""
        return (await self._call("GET", "/metrics")).decode()

    def told(self, text: str) -> str:
        """Return the beginning of what a server says, in one line and without the token.

        Some repeat the headers that they got; line breaks would forge lines of a log, and escape codes move a terminal.
        """
        without = text.replace(self._token, "[token]") if self._token else text
        return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(without[:MAX_TOLD].split()))

    def cut(self) -> None:
        """Cancel all requests in flight: those calls raise `Unanswered`."""
        now_s = asyncio.get_running_loop().time()
        while self._pending:
            self._pending.pop().reschedule(now_s)

    async def close(self) -> None:
        """Close the connections."""
        self.cut()
        await self._client.aclose()

    async def _call(self, method: str, path: str, **more: Any) -> bytes:
        try:
            async with asyncio.timeout(None) as pending:
                self._pending.add(pending)
                try:
                    async with self._client.stream(method, self.url + path, **more) as response:
                        content = await _read(response)
                finally:
                    self._pending.discard(pending)
        except TimeoutError:  # only `cut` sets a time
            raise Unanswered("no sign of life", begun=True) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            why = ": ".join(filter(None, (type(error).__name__, str(error))))
            hint = "; perhaps http://?" if PLAIN_ANSWER in why else ""
            raise Unreachable(f"no connection ({self.told(why)}){hint}", begun=False) from error
        except httpx2.HTTPError as error:
            # A server that speaks TLS alone ends a plain connection without an answer, or with an alert.
            hint = "; perhaps https://?" if method == "GET" and self.url.startswith("http:") else ""
            raise Unanswered(f"connection lost ({type(error).__name__}){hint}", begun=True) from error
        self._see_status(response, content, path)
        return content

    def _see_status(self, response: httpx2.Response, content: bytes, path: str) -> None:
        status = response.status_code
        if TLS_WANTED in content[:MAX_READ].lower():
            raise Unanswered(f"HTTP {status}: wants TLS; perhaps https://?", begun=False)
        if status in OWN_FAULT:
            message = f"HTTP {status}: {self.told(content.decode(errors='replace'))}"
            raise ValueError(message)
        if not response.is_success:
            why = f"HTTP {status}{self._hint(response, path)}"
            if status in BUSY:
                raise Busy(why, begun=False, after_s=_after_s(response))
            raise Unanswered(why, begun=True)

    def _hint(self, response: httpx2.Response, path: str) -> str:
        """Return what a wrong address may have to do with an answer that is none."""
        status = response.status_code
        if status in BARRED:
            return ", see server_auth_file"
        if response.is_redirect:
            target = self.told(response.headers.get("location", "nowhere"))
            return f" for {path}, which redirects to {target}: set server_urls to that server; none is followed"
        if status in NOT_THERE:
            return f" for {self.url}{path}; want the address under which vLLM has /v1/models"
        return ""


class _Version(BaseModel):
    version: str = Field(max_length=100)  # it goes into every response


def _client(url: str, token: str | None) -> httpx2.AsyncClient:
    try:
        address = httpx2.URL(url)
        if address.port is not None and not 0 < address.port <= MAX_PORT:
            message = f"port {address.port}, want at most {MAX_PORT}"
            raise ValueError(message)
    except (httpx2.InvalidURL, ValueError) as error:
        raise BadSettings(f"server_urls: {url}: {error}") from error
    auth = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", **auth},  # a small answer could unpack to any size
            timeout=httpx2.Timeout(None, connect=CONNECT_S),  # the deadline of a question is the asker's
            limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE_S),  # how many are open at once is the asker's too
            verify=httpx2.create_ssl_context(),
            trust_env=not _is_here(address.host),
        )
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(f"{url}: the environment names a proxy or certificates of no use: {error}") from error


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _after_s(response: httpx2.Response) -> float:
    """Return what a busy server asks for, in its form in seconds; 0 if it does not."""
    told = response.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdecimal() else 0.0


async def _read(response: httpx2.Response) -> bytes:
    """Return the body as it was sent: one packed against our wish cannot be read, rather than fill the memory."""
    content = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > MAX_BYTES:
                raise Unanswered(f"answers with more than {MAX_BYTES >> 20} MiB", begun=True)
    return bytes(content)
