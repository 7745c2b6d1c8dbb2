"""Writer schemas by id: from a schema registry, or our own by fingerprint.

A registry that is away is no reason to dead-letter: `Retryable`.  One that says "not found" is: `Poison`, and the
answer is remembered for a while, so that a storm of unknown ids asks once each.
"""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from worker import codec
from worker.codec import SchemaRef
from worker.errors import BadSettings, Poison, Retryable

NOT_FOUND = 404
PASSING = frozenset({401, 403, 407, 408, 429})  # answers of 4xx that another try, or an operator, can mend
REMEMBER_S = 60.0  # how long "not found" and "refused" stand
MAX_KNOWN = 10_000  # schemas remembered; more would be an attack, not evolution
OWN = ("RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition", "ExperimentReadout")


class Schemas:
    """Writer schemas, parsed and linted, by reference."""

    def __init__(self, url: str | None, auth_file: Path | None = None) -> None:
        """Take the registry's address, or None for our own schemas alone."""
        self._client = SchemaRegistryClient(_config(url, auth_file)) if url else None
        self._known: dict[SchemaRef, codec.Schema] = {
            SchemaRef("fingerprint", codec.schema_fingerprint(text).hex()): codec.writer_schema(text)
            for text in map(codec.schema_text, OWN)
        }
        self._refused: dict[SchemaRef, tuple[float, Poison]] = {}

    def known(self, ref: SchemaRef) -> codec.Schema | None:
        """Return a writer schema that was fetched before."""
        return self._known.get(ref)

    async def fetch(self, ref: SchemaRef) -> codec.Schema:
        """Return a writer schema.  Raises `Poison` if there is none or it is refused, `Retryable` if nobody can say."""
        return await asyncio.to_thread(self.fetch_now, ref)

    def fetch_now(self, ref: SchemaRef) -> codec.Schema:
        """Do the same, blocking."""
        if ref in self._known:
            return self._known[ref]
        since_s, refusal = self._refused.get(ref, (0.0, None))
        if refusal is not None and time.monotonic() - since_s < REMEMBER_S:
            raise Poison(refusal.reason, str(refusal))
        try:
            schema = codec.writer_schema(self._ask(ref))
        except Poison as poison:
            _bound(self._refused)
            self._refused[ref] = (time.monotonic(), poison)
            raise
        _bound(self._known)
        self._known[ref] = schema
        return schema

    def _ask(self, ref: SchemaRef) -> str:
        if self._client is None or ref.kind == "fingerprint":
            message = f"writer schema {ref.kind} {ref.value} is unknown here"
            raise Poison("schema", message)
        try:
            if ref.kind == "id":
                found = self._client.get_schema(int(ref.value))
            else:
                found = self._client.get_schema_by_guid(str(UUID(hex=ref.value)))  # with dashes, as the client's own
        except SchemaRegistryError as error:
            code = error.http_status_code
            if 400 <= code < 500 and code not in PASSING:  # noqa: PLR2004 - HTTP's: the request will never be right
                message = f"writer schema {ref.kind} {ref.value} is not in the registry ({code})"
                raise Poison("schema", message) from error
            message = f"schema registry: {error.http_status_code} for {ref.kind} {ref.value}"
            raise Retryable(message) from error
        except (httpx2.HTTPError, OSError) as error:
            message = f"schema registry: {type(error).__name__} for {ref.kind} {ref.value}"
            raise Retryable(message) from error
        return found.schema_str or ""


def register(url: str, auth_file: Path | None, subjects: dict[str, str]) -> dict[str, int]:
    """Register our schemas, subject to record name, with FULL_TRANSITIVE compatibility; return the id by subject."""
    client = SchemaRegistryClient(_config(url, auth_file))
    ids = {}
    try:
        for subject, name in subjects.items():
            ids[subject] = client.register_schema(subject, Schema(codec.schema_text(name), "AVRO"))
            client.set_compatibility(subject, "FULL_TRANSITIVE")
    except (SchemaRegistryError, httpx2.HTTPError, OSError) as error:
        message = f"schema registry {url}: {error}; nothing more was registered"
        raise Retryable(message) from error
    return ids


def schema_id(url: str, auth_file: Path | None, subject: str, name: str) -> int:
    """Return the id that one of our schemas has under a subject.  Raises `BadSettings` if it is not registered."""
    client = SchemaRegistryClient(_config(url, auth_file))
    try:
        found = client.lookup_schema(subject, Schema(codec.schema_text(name), "AVRO"))
    except SchemaRegistryError as error:
        if error.http_status_code == NOT_FOUND:
            message = f"subject {subject}: {name} is not registered; run `mirrorstream schemas register`"
            raise BadSettings(message) from error
        message = f"schema registry {url}: {error}"
        raise Retryable(message) from error
    except (httpx2.HTTPError, OSError) as error:
        message = f"schema registry {url}: {type(error).__name__}"
        raise Retryable(message) from error
    return int(found.schema_id or 0)


def encoder(url: str | None, auth_file: Path | None, topic: str, name: str) -> codec.Encoder:
    """Return an encoder of one of our records for a topic; without a registry, single-object.  Raises `BadSettings`."""
    return codec.Encoder(name, schema_id=schema_id(url, auth_file, f"{topic}-value", name) if url else None)


def _config(url: str | None, auth_file: Path | None) -> dict[str, object]:
    config: dict[str, object] = {"url": url, "timeout": 10, "max.retries": 1, "cache.capacity": MAX_KNOWN}
    if auth_file is not None:
        try:
            config["basic.auth.user.info"] = auth_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            message = f"schema_registry_auth_file: {auth_file}: {error.strerror}; want a file with user:password"
            raise BadSettings(message) from error
    return config


def _bound(
    remembered: dict[SchemaRef, object] | dict[SchemaRef, codec.Schema] | dict[SchemaRef, tuple[float, Poison]],
) -> None:
    while len(remembered) >= MAX_KNOWN:
        del remembered[next(iter(remembered))]
