"""One HTTP POST, with a bound on its whole time, and without its address's secrets in any message."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx2

from worker.core.errors import BadSettings
from worker.experiment.page.access import LOOPBACK
from worker.system.daemon_thread import start

CALL_S = 10.0  # from the connection to the status line
LOOK_S = 0.1  # how long a stop may wait
_OK = range(200, 300)


class NotDelivered(Exception):
    """The receiver did not accept it; the message says why, without a secret."""


class _DaemonThreads(ThreadPoolExecutor):
    """Looks names up without being waited for: a name server that hangs would hold the call, and the process's exit."""

    def submit(self, call: Callable[..., Any], /, *args: object, **more: object) -> "Future[Any]":
        return start(partial(call, *args, **more))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - its base's
        """Wait for nothing: a thread that hangs ends with the process."""


class Sender:
    """Posts JSON to one address.

    User and password of the address are sent as basic authentication.  Messages show its scheme, host and port alone:
    many webhooks have their secret in the path.  The constructor raises `BadSettings` for an address that cannot be.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            raise BadSettings("--on-verdict-change: is no URL; want http://HOST/... or https://HOST/...") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise BadSettings("--on-verdict-change: want http://HOST/... or https://HOST/...")
        self.shown = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        self._ssl = httpx2.create_ssl_context() if self._url.scheme == "https" else False
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log the address of every call

    def post(self, body: Mapping[str, object], is_stopped: Callable[[], bool]) -> None:
        """Return once the receiver said 2xx.  Raises `NotDelivered`, also when it is stopped meanwhile."""
        asyncio.run(self._post(json.dumps(body).encode(), is_stopped))

    async def _post(self, content: bytes, is_stopped: Callable[[], bool]) -> None:
        asyncio.get_running_loop().set_default_executor(_DaemonThreads())
        call = asyncio.create_task(self._call(content))
        try:
            async with asyncio.timeout(CALL_S):
                while not call.done() and not is_stopped():
                    await asyncio.wait([call], timeout=LOOK_S)
        except TimeoutError:
            raise NotDelivered(f"no answer within {CALL_S:.0f} s") from None
        finally:
            call.cancel()  # of no effect on one that is done
            await asyncio.wait([call])
        if call.cancelled():
            raise NotDelivered("stopped")
        if (error := call.exception()) is not None:
            raise NotDelivered(f"no answer ({type(error).__name__})") from error
        if call.result() not in _OK:
            raise NotDelivered(f"HTTP status {call.result()}, want 2xx")

    async def _call(self, content: bytes) -> int:
        """Return the status; the body is not read, and a redirect is not followed."""
        headers = {"Content-Type": "application/json"}
        async with (
            httpx2.AsyncClient(verify=self._ssl, timeout=CALL_S, trust_env=not self._is_here()) as client,
            client.stream("POST", self._url, headers=headers, content=content) as response,
        ):
            return response.status_code

    def _is_here(self) -> bool:
        """Return True for an address of this machine, which is called without a proxy."""
        return self._url.host in LOOPBACK or self._url.host == "::1"
