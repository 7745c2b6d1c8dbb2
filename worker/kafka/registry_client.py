"""HTTP client of a schema registry; distinguishes the registry's answers from those of anything else at its address.

    2xx and a JSON object                           an answer; the caller checks its shape
    404 with error_code 40401, 40402 or 40403       `NoSuchSchema`: the registry answers and does not have it
    404, 405 or 501 with other JSON                 `NoSuchCall`: perhaps it lacks this call
    400, 422 or 5xx                                 `RefusedRequest`: perhaps it does not know a part of the request
    anything else                                   `Retryable`: no registry has answered

Confluent's registry, Karapace, Apicurio's ccompat API and Redpanda return these three codes for an unknown subject,
version, id or GUID (`Errors.java`, `SchemaErrorCodes`, `ErrorCode.java`).  A 404 without them has another origin: an
ingress without a backend, a wrong path, a registry that lacks this call (Karapace returns 404 for GUIDs).  So has a 200
with a login page.  Redirects are not followed: they would carry the credentials along.

Cloudera's registry answers with these codes, too, but for two cases: a schema that a known subject has not is 404 with
responseCode 1101, and a call that it lacks is 500 with the text of a 404.

Confluent's own `SchemaRegistryClient` is not used: it reads a body of any size, limits the time between two bytes and
not in total, raises the errors of its JSON parser, and caches every schema for ever.
"""

import asyncio
import json
import re
import ssl
import time
import zlib
from collections.abc import Generator, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from worker.core.errors import BadSettings, MirrorstreamError, Retryable
from worker.core.service_requests import RegistryEnd, RegistryWatch, Unwatched
from worker.settings.registry_access import ANONYMOUS, RegistryAccess

CALL_S = 10.0  # for a whole response, connection and body; a registry responds within milliseconds
MAX_BODY_BYTES = 2 << 20  # a registry stores a schema as one Kafka message, of 1 MB at most
MAX_QUOTED = 200  # characters of a server's text that are quoted
NOT_FOUND = 404
NO_SUCH = frozenset({40401, 40402, 40403})  # subject, version, schema
REJECTED_LOGIN = frozenset({401, 403, 407})
REFUSED = frozenset({400, 422})
LACKS_CALL = frozenset({404, 405, 501})
SERVER_ERROR = 500
CLOUDERAS_NO_SUCH = 1101  # `responseCode`
CLOUDERAS_LACKS_CALL = "HTTP 404"  # in `responseMessage`
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"
_ODD = re.compile(r"[^\x20-\x7e]+")
_BEARER = re.compile(r"Bearer +([!-~]+)")


class NoSuchSchema(MirrorstreamError):
    """The registry has answered that it does not have the schema, subject or version."""


class RefusedRequest(Retryable):
    """A registry answered with an error: it is unavailable, or does not know a part of the request."""


class NoSuchCall(RefusedRequest):
    """A registry answered as those do that lack the call; whether it has answered others, only the caller knows."""


class RegistryClient:
    """Sends requests to the first registry of a comma-separated list of addresses that answers.

    The files of `access` are read again for every call.  The constructor raises `BadSettings` if an address or one of
    them cannot be used.
    """

    def __init__(self, url: str, access: RegistryAccess = ANONYMOUS, watch: RegistryWatch | None = None) -> None:
        self._watch = watch or Unwatched()
        self._urls = [one.strip().rstrip("/") for one in url.split(",") if one.strip()]
        self.shown = ", ".join(map(shown, self._urls))
        if not self._urls or not all(map(_is_usable, self._urls)):
            raise BadSettings(f"schema_registry_url: {self.shown or 'nothing'}; want http://HOST:PORT")
        self._access = access
        self._auth(self._urls[0])
        self._ssl = self._ssl_context() if any(one.startswith("https:") for one in self._urls) else False

    async def call(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """Return the registry's JSON object.

        Raises `NoSuchSchema`, or `Retryable` if no registry has answered; that is `RefusedRequest` if one has refused,
        and `NoSuchCall` if one seems to lack the call.
        """
        began_s, end = time.monotonic(), RegistryEnd.FAILED
        try:
            answer = await self._call(method, path, body)
            end = RegistryEnd.ANSWERED
        except NoSuchSchema:
            end = RegistryEnd.NOT_FOUND
            raise
        finally:
            self._watch.registry_asked(end, time.monotonic() - began_s)
        return answer

    async def _call(self, method: str, path: str, body: object) -> Mapping[str, Any]:
        problems: list[str] = []
        failure: type[Retryable] = Retryable
        for url in self._urls:
            try:
                async with asyncio.timeout(CALL_S):
                    return await self._ask(url, method, path, body)
            except TimeoutError:
                problems.append(f"{shown(url)} did not answer completely within {CALL_S:.0f} s")
            except _NotARegistryError as error:
                problems.append(f"{shown(url)} {error}")
                failure = error.failure or failure
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                detail = f" ({_clean(str(error))})" if isinstance(error, httpx2.ConnectError | OSError) else ""
                problems.append(f"{shown(url)} did not answer: {type(error).__name__}{detail}")
        raise failure(f"schema registry {'; '.join(problems)}; requested {_clean(path)}")

    async def _ask(self, url: str, method: str, path: str, body: object) -> Mapping[str, Any]:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/vnd.schemaregistry.v1+json"
            content = json.dumps(body).encode()
        verify = self._ssl_context() if self._access.certificate_file and url.startswith("https:") else self._ssl
        client = httpx2.AsyncClient(auth=self._auth(url), verify=verify, timeout=CALL_S, trust_env=not _is_here(url))
        async with (
            client,
            client.stream(method, _bare(url) + path, headers=headers, content=content) as response,
        ):
            return _answer(response, await _read(response))

    def _auth(self, url: str) -> httpx2.Auth | None:
        """Return user and password, or a token, from the file or the address; None without.  Raises `BadSettings`."""
        parts, file = urlsplit(url), self._access.auth_file
        if file is None:
            if not parts.username:
                return None
            return httpx2.BasicAuth(unquote(parts.username), unquote(parts.password or ""))
        want = "want a file with user:password, or Bearer TOKEN"
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is not text"
            raise BadSettings(f"schema_registry_auth_file: {file}: {why}; {want}") from error
        if token := _BEARER.fullmatch(text):
            return _Bearer(token[1])
        user, colon, password = text.partition(":")
        if not colon:
            raise BadSettings(f"schema_registry_auth_file: {file}: {want}")
        return httpx2.BasicAuth(user, password)

    def _ssl_context(self) -> ssl.SSLContext:
        """Return what TLS is made with: trusted authorities, and our certificate.  Raises `BadSettings`."""
        try:
            context = httpx2.create_ssl_context()
        except (OSError, ValueError) as error:
            raise BadSettings(f"SSL_CERT_FILE or SSL_CERT_DIR: {error}; want certificates for the registry") from error
        certificate, key = self._access.certificate_file, self._access.key_file
        if certificate is not None:
            try:
                context.load_cert_chain(certificate, key, password="")  # one with a password would be asked for it
            except (OSError, ValueError) as error:  # an `SSLError` is an `OSError`
                why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
                place = f"{certificate}{f', schema_registry_key_file: {key}' if key else ''}"
                raise BadSettings(
                    f"schema_registry_certificate_file: {place}: {why}; want PEM files of a certificate and its key"
                ) from error
        return context


class _Bearer(httpx2.Auth):
    """Sends a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Put the token into a header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _NotARegistryError(Exception):
    """A response that is not a registry's; its text follows the address in messages."""

    def __init__(self, message: str, failure: type[Retryable] | None = None) -> None:
        super().__init__(message)
        self.failure = failure


def shown(url: str) -> str:
    """Return an address without user, password and query, for logs and messages.

    >>> shown("https://user:secret@registry:8081/apis?token=x")
    'https://registry:8081/apis'
    """
    return _clean(re.split(r"[?#]", _bare(url), maxsplit=1)[0])


def _bare(url: str) -> str:
    """Return an address without user and password (everything before the @), which are sent in a header."""
    scheme, colon, rest = url.partition("://")
    return f"{scheme}{colon}{rest.rpartition('@')[2]}" if colon else url.rpartition("@")[2]


def _is_here(url: str) -> bool:
    """Return True for an address of this machine, which is called without a proxy."""
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


async def _read(response: httpx2.Response) -> bytes:
    """Return the body, decompressed if need be; at most `MAX_BODY_BYTES` before and after."""
    body = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _NotARegistryError(f"sent more than {MAX_BODY_BYTES >> 20} MiB")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return bytes(body)
    if encoding not in {"gzip", "deflate"}:
        raise _NotARegistryError(f"sent the content encoding {_clean(encoding)!r}, want identity")
    return _unpacked(bytes(body), encoding)


def _unpacked(body: bytes, encoding: str) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS + 16 if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise _NotARegistryError(f"sent {encoding} data that cannot be decompressed") from error
    if not unpacker.eof:
        raise _NotARegistryError(f"sent {encoding} data that is incomplete or has more than {MAX_BODY_BYTES >> 20} MiB")
    return found


def _answer(response: httpx2.Response, body: bytes) -> Mapping[str, Any]:
    """Return a registry's answer.  Raises `NoSuchSchema`, else `_NotARegistryError` for any other response."""
    status = response.status_code
    answer = _json(body)
    code = answer.get("error_code") if answer is not None else None
    has_code = isinstance(code, int) and not isinstance(code, bool)
    if response.is_success and answer is not None:
        return answer
    if status == NOT_FOUND and has_code and code in NO_SUCH:
        raise NoSuchSchema(f"404, error code {code}")
    if status == NOT_FOUND and answer is not None and answer.get("responseCode") == CLOUDERAS_NO_SUCH:
        raise NoSuchSchema(f"404, response code {CLOUDERAS_NO_SUCH}")
    raise _NotARegistryError(
        _why_not(response, body, f"{code}: {_clean(str((answer or {}).get('message', '')))}" if has_code else ""),
        _failure(status, None if has_code else answer),
    )


def _failure(status: int, answer: Mapping[str, Any] | None) -> type[Retryable] | None:
    """Return what a refusal amounts to, None if it says nothing; `answer` is its JSON if that has no error code."""
    if answer is not None:
        lacks = CLOUDERAS_LACKS_CALL in str(answer.get("responseMessage")) and status == SERVER_ERROR
        if lacks or status in LACKS_CALL:
            return NoSuchCall
    return RefusedRequest if status in REFUSED or status >= SERVER_ERROR else None


def _why_not(response: httpx2.Response, body: bytes, own_words: str) -> str:
    status, kind = response.status_code, _clean(response.headers.get("content-type", "")) or "no content type"
    if response.is_redirect:
        target = _clean(response.headers.get("location", "nowhere")).partition("?")[0]
        place = shown(target) if "://" in target else target
        return f"redirects ({status}) to {place}, which is not followed: want the address of the registry itself"
    if status in REJECTED_LOGIN:
        return f"rejects the credentials ({status}): check schema_registry_auth_file"
    if own_words:
        return f"returned {status}, error code {own_words}"
    if response.is_success:
        return f"returned {status} with {len(body)} bytes of {kind}, want a JSON object: this is not a schema registry"
    hint = f": not from a registry, which sends error_code {min(NO_SUCH)} to {max(NO_SUCH)}"
    return f"returned {status} with {len(body)} bytes of {kind}{hint if status == NOT_FOUND else ''}"


def _json(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object in a body; None if it is anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _clean(text: str) -> str:
    """Return the beginning of foreign text, safe for a log line."""
    return _ODD.sub("?", text)[:MAX_QUOTED]
