"""One vLLM server over HTTP: what it is asked, and why it did not answer.

    400, 413, 422            the question's own fault: `ValueError`, and nobody else is asked
    429, 503                 busy: `Unanswered`, another server may be asked
    no connection            `Unreachable`
    anything else            `Unanswered`, begun: the server may have died of it

Cancelling a call closes its connection, and vLLM then aborts the request.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import httpx2
from pydantic import BaseModel

from worker.engines.wire import Answer

CONNECT_S = 5.0
# vLLM closes an idle connection after 5 s (VLLM_HTTP_TIMEOUT_KEEP_ALIVE); one that we use at that moment looks lost.
KEEP_ALIVE_S = 2.0
OWN_FAULT = frozenset({400, 413, 422})
BUSY = frozenset({429, 503})
BARRED = frozenset({401, 403})
MAX_TOLD = 300  # characters of an error that are passed on


class Unanswered(Exception):
    """A server did not answer; `begun` says whether it may have begun to."""

    def __init__(self, why: str, *, begun: bool) -> None:
        """Say why in a few words."""
        super().__init__(why)
        self.begun = begun


class Unreachable(Unanswered):
    """There is no connection to it."""


class _Model(BaseModel):
    id: str
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Model]


class Server:
    """One endpoint, and the requests that it has not answered yet."""

    def __init__(self, url: str, token: str | None) -> None:
        """Take the address, with or without `/v1` at its end, and the bearer token."""
        self.url = url.rstrip("/").removesuffix("/v1")
        self.heard_s = -math.inf  # when it last answered a request for tokens, in the loop's time
        self._pending: set[asyncio.Timeout] = set()
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(None, connect=CONNECT_S),  # the deadline of a question is the asker's
            limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE_S),  # how many are open at once is the asker's too
        )

    @property
    def num_pending(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._pending)

    async def models(self) -> dict[str, int | None]:
        """Return what it serves: the longest sequence by name.  Raises `Unanswered`."""
        try:
            found = _Models.model_validate_json(await self._call("GET", "/v1/models"))
        except ValueError as error:
            raise Unanswered("tells no models, as something else would", begun=False) from error
        return {model.id: model.max_model_len for model in found.data}

    async def version(self) -> str:
        """Return vLLM's version; a gateway in front of it may not tell."""
        try:
            return _Version.model_validate_json(await self._call("GET", "/version")).version
        except (Unanswered, ValueError):
            return "unknown"

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """Have tokens written.  Raises `Unanswered`, and `ValueError` if it will never answer this."""
        content = await self._call("POST", "/v1/completions", json=body, headers=headers)
        try:
            answer = Answer.model_validate_json(content)
        except ValueError as error:
            raise Unanswered("tells no completion, as something else would", begun=True) from error
        if answer.choices[0].finish_reason == "abort":  # a server that is told to end answers all it has with this
            raise Unanswered("gave up what it was asked", begun=True)
        self.heard_s = asyncio.get_running_loop().time()
        return answer

    def cut(self) -> None:
        """Give up on all that it was asked: those calls raise `Unanswered`."""
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
                    response = await self._client.request(method, self.url + path, **more)
                finally:
                    self._pending.discard(pending)
        except TimeoutError:  # only `cut` sets a time
            raise Unanswered("no sign of life", begun=True) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(f"no connection ({type(error).__name__})", begun=False) from error
        except httpx2.HTTPError as error:
            raise Unanswered(f"connection lost ({type(error).__name__})", begun=True) from error
        return _content(response)


class _Version(BaseModel):
    version: str


def _content(response: httpx2.Response) -> bytes:
    status = response.status_code
    if status in OWN_FAULT:
        message = f"HTTP {status}: {response.text[:MAX_TOLD]}"
        raise ValueError(message)
    if not response.is_success:
        hint = ", see server_auth_file" if status in BARRED else ""
        raise Unanswered(f"HTTP {status}{hint}", begun=status not in BUSY)
    return response.content
