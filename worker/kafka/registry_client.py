"""One schema registry over HTTP: tells the registry's own answers from everything else that may answer in its place.

    2xx and a JSON object                           an answer; whoever asked checks its shape
    404 with error_code 40401, 40402 or 40403       `NoSuchSchema`: the registry is there and does not have it
    anything else                                   `Retryable`: nobody who knows has answered

The three codes are what Confluent's registry, Karapace, Apicurio's ccompat API and Redpanda say of an unknown subject,
version, id or GUID (`Errors.java`, `SchemaErrorCodes`, `ErrorCode.java`).  A 404 without them comes from somebody else:
an ingress without a backend, a wrong path, a registry that lacks this call (Karapace says 404 for GUIDs).  So does a
200 with a login page.  Redirects are not followed: the credentials would go with them.

Confluent's own `SchemaRegistryClient` reads a body of any size, waits between two bytes and not in total, raises
whatever its JSON parser raises, and caches every schema for ever, so it is not used here.
"""

import asyncio
import json
import re
import ssl
import zlib
from collections.abc import Mapping
from contextlib import aclosing
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from worker.core.errors import BadSettings, MirrorstreamError, Retryable

CALL_S = 10.0  # for one whole answer, connection and body; a registry answers within milliseconds
MAX_BODY_BYTES = 2 << 20  # a registry keeps a schema as one message on Kafka, of 1 MB at most
MAX_TOLD = 200  # characters of what a server says that are passed on
NOT_FOUND = 404
NO_SUCH = frozenset({40401, 40402, 40403})  # subject, version, schema
BARRED = frozenset({401, 403, 407})
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"
_ODD = re.compile(r"[^\x20-\x7e]+")


class NoSuchSchema(MirrorstreamError):
    """The registry itself says that it does not have what was asked for."""


class RegistryClient:
    """Asks the registries of a comma-separated list, the next one where one gives no answer."""

    def __init__(self, url: str, auth_file: Path | None = None) -> None:
        """Take the addresses, and a file with user:password that is read anew for every call.

        Raises `BadSettings` if an address or the file is of no use.
        """
        self._urls = [one.strip().rstrip("/") for one in url.split(",") if one.strip()]
        self.shown = ", ".join(map(shown, self._urls))
        if not self._urls or not all(map(_is_usable, self._urls)):
            raise BadSettings(f"schema_registry_url: {self.shown or 'nothing'}; want http://HOST:PORT")
        self._auth_file = auth_file
        self._auth(self._urls[0])
        self._ssl = _ssl_context() if any(one.startswith("https:") for one in self._urls) else False

    async def call(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """Return what the registry says.  Raises `NoSuchSchema`, or `Retryable` if no registry has answered."""
        problems = []
        for url in self._urls:
            try:
                async with asyncio.timeout(CALL_S):
                    return await self._ask(url, method, path, body)
            except TimeoutError:
                problems.append(f"{shown(url)} gave no whole answer within {CALL_S:.0f} s")
            except _Odd as odd:
                problems.append(f"{shown(url)} {odd}")
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                detail = f" ({_clean(str(error))})" if isinstance(error, httpx2.ConnectError | OSError) else ""
                problems.append(f"{shown(url)} gave no answer: {type(error).__name__}{detail}")
        raise Retryable(f"schema registry {'; '.join(problems)}; asked for {_clean(path)}")

    async def _ask(self, url: str, method: str, path: str, body: object) -> Mapping[str, Any]:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/vnd.schemaregistry.v1+json"
            content = json.dumps(body).encode()
        client = httpx2.AsyncClient(auth=self._auth(url), verify=self._ssl, timeout=CALL_S, trust_env=not _is_here(url))
        async with (
            client,
            client.stream(method, _bare(url) + path, headers=headers, content=content) as response,
        ):
            return _answer(response, await _read(response))

    def _auth(self, url: str) -> tuple[str, str] | None:
        """Return user and password, of the file or of the address.  Raises `BadSettings`."""
        parts = urlsplit(url)
        if self._auth_file is None:
            return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        try:
            user, colon, password = self._auth_file.read_text(encoding="utf-8").strip().partition(":")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is not text"
            message = f"schema_registry_auth_file: {self._auth_file}: {why}; want a file with user:password"
            raise BadSettings(message) from error
        if not colon:
            raise BadSettings(f"schema_registry_auth_file: {self._auth_file}: want a file with user:password")
        return user, password


class _Odd(Exception):
    """Something that no registry says, in words that follow its address."""


def shown(url: str) -> str:
    """Return an address without user, password and query, which no log shall hold.

    >>> shown("https://user:secret@registry:8081/apis?token=x")
    'https://registry:8081/apis'
    """
    return _clean(re.split(r"[?#]", _bare(url), maxsplit=1)[0])


def _bare(url: str) -> str:
    """Return an address without user and password, which go into a header; whatever stands before an @ is one."""
    scheme, colon, rest = url.partition("://")
    return f"{scheme}{colon}{rest.rpartition('@')[2]}" if colon else url.rpartition("@")[2]


def _is_here(url: str) -> bool:
    """Say whether an address is this machine's own, which is asked without a proxy."""
    host = httpx2.URL(_bare(url)).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_usable(url: str) -> bool:
    try:
        found = httpx2.URL(_bare(url))
        return found.scheme in {"http", "https"} and bool(found.host) and not found.query and not found.fragment
    except (httpx2.InvalidURL, ValueError):
        return False


def _ssl_context() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except (OSError, ValueError) as error:
        raise BadSettings(f"SSL_CERT_FILE or SSL_CERT_DIR: {error}; want certificates for the registry") from error


async def _read(response: httpx2.Response) -> bytes:
    """Return the body, unpacked within the same bound if it was packed against our wish."""
    body = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _Odd(f"answers with more than {MAX_BODY_BYTES >> 20} MiB")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes(body)
    if encoding not in {"gzip", "deflate"}:
        raise _Odd(f"answers in the encoding {_clean(encoding)!r}, which was not asked for")
    return _unpacked(bytes(body), encoding)


def _unpacked(body: bytes, encoding: str) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS + 16 if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise _Odd(f"answers with {encoding} that cannot be unpacked") from error
    if not unpacker.eof:
        raise _Odd(f"answers with {encoding} that is cut off, or of more than {MAX_BODY_BYTES >> 20} MiB")
    return found


def _answer(response: httpx2.Response, body: bytes) -> Mapping[str, Any]:
    """Return a registry's answer.  Raises `NoSuchSchema`, and `_Odd` for everything that is none."""
    status = response.status_code
    said = _json(body)
    code = said.get("error_code") if said is not None else None
    has_code = isinstance(code, int) and not isinstance(code, bool)
    if response.is_success and said is not None:
        return said
    if status == NOT_FOUND and has_code and code in NO_SUCH:
        raise NoSuchSchema(f"404, error code {code}")
    raise _Odd(_why_not(response, body, f"{code}: {_clean(str((said or {}).get('message', '')))}" if has_code else ""))


def _why_not(response: httpx2.Response, body: bytes, own_words: str) -> str:
    status, kind = response.status_code, _clean(response.headers.get("content-type", "")) or "no content type"
    if response.is_redirect:
        target = _clean(response.headers.get("location", "nowhere")).partition("?")[0]
        place = shown(target) if "://" in target else target
        return f"redirects ({status}) to {place}, which is not followed: want the registry's own address"
    if status in BARRED:
        return f"refuses the credentials ({status}): see schema_registry_auth_file"
    if own_words:
        return f"says {status}, error code {own_words}"
    if response.is_success:
        return f"says {status} with {len(body)} bytes of {kind}, want a JSON object: that is no schema registry"
    hint = f": not a registry's answer, which has error_code {min(NO_SUCH)} to {max(NO_SUCH)}"
    return f"says {status} with {len(body)} bytes of {kind}{hint if status == NOT_FOUND else ''}"


def _json(body: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object; None for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _clean(text: str) -> str:
    """Return the beginning of foreign text, fit for a log line."""
    return _ODD.sub("?", text)[:MAX_TOLD]
