"""Writer schemas: from a schema registry, with the schemas that they refer to, or our own by fingerprint.

    id or GUID  ->  text and references (subject, version)  ->  their references  ->  parsed, dependencies first

If the registry is unavailable, or something else answers in its place, the record is not dead-lettered: `Retryable`.
If the registry says "no such schema", it is: `Poison`.  That answer is cached for 60 s, so that a burst of records with
an unknown id causes one request.

The caches of foreign schemas are bounded in bytes, and our own schemas are never evicted.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import UUID

from worker.core.bounded_cache import BytesLru
from worker.core.codec import avro_encoder, avro_schemas, framing, impression as codec
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.codec.input_forms import InputForm, WriterSchema
from worker.core.codec.protobuf_encoder import ProtobufEncoder
from worker.core.errors import BadSettings, Poison, Retryable
from worker.core.records import Impression, Reason, Record
from worker.core.service_requests import RegistryWatch
from worker.kafka.registry_client import NoSuchCall, NoSuchSchema, RefusedRequest, RegistryClient
from worker.kafka.schema_kinds import AvroKind, Named, ProtobufKind, SchemaKind
from worker.settings.groups import KafkaSettings
from worker.settings.registry_access import ANONYMOUS, RegistryAccess

T = TypeVar("T")
Encodes: TypeAlias = avro_encoder.Encoder | avro_encoder.JsonEncoder | ProtobufEncoder

NEGATIVE_TTL_S = 60.0  # how long "no such schema" and a rejected schema are cached
MAX_SCHEMA_BYTES = 64 << 20  # of parsed foreign schemas: 180 of the size of our impression's, the largest that we know
MAX_DOCUMENT_BYTES = 8 << 20  # of texts that other schemas refer to
MAX_REFUSED_BYTES = 4 << 20
REFUSED_BYTES = 600  # of one rejection besides its text: the exception, its reference and the time
MAX_OWN = 1_000  # references to our own schemas, never evicted; a registry gives each schema one id and one GUID
MAX_REFERENCE_DEPTH = 8  # types nested in types, each in a schema of its own; nesting may be 16 deep in all
MAX_REFERENCES = 64  # schemas; our widest has 8 named types
MAX_REFERENCE_BYTES = 1 << 20  # of text in total, as much as a registry accepts for one schema
ATTEMPTS, RETRY_S = 2, 0.5  # of a command; the worker retries without limit


@dataclass(frozen=True, slots=True)
class _Reference:
    """The subject and version of a schema that another one refers to."""

    subject: str
    version: int
    name: str = ""  # by which Protobuf imports it

    def __str__(self) -> str:
        return f"{ascii(self.subject)[1:-1][:100]} version {self.version}"

    @property
    def path(self) -> str:
        """The path of the request; finds deleted versions, too: records written with them still exist."""
        return f"/subjects/{quote(self.subject, safe='')}/versions/{self.version}?deleted=true"


@dataclass(frozen=True, slots=True)
class _Document:
    """A schema as the registry returns it."""

    text: str
    references: tuple[_Reference, ...]

    @property
    def num_bytes(self) -> int:
        return len(self.text.encode("utf-8", "surrogatepass"))


class _OtherFormat(Retryable):
    """A registry has returned a schema of the right kind, in a format that is not read."""


@dataclass(slots=True)
class _Found:
    """The references of one schema that were followed so far."""

    texts: dict[_Reference, str] = field(default_factory=dict)  # dependencies first
    num_bytes: int = 0


class Schemas:
    """Fetches, parses and caches writer schemas.

    `url` is the registry's address, None for our own schemas only; `access` is how it knows us; `kind` is what they
    are, Avro by default.  The constructor raises `BadSettings` if one of them cannot be used.
    """

    def __init__(
        self,
        url: str | None,
        access: RegistryAccess = ANONYMOUS,
        watch: RegistryWatch | None = None,
        kind: SchemaKind | None = None,
    ) -> None:
        self._client = RegistryClient(url, access, watch) if url else None
        self._kind: SchemaKind = kind or AvroKind()
        self._own: dict[SchemaRef, avro_schemas.Schema] = {
            SchemaRef(
                SchemaRefKind.FINGERPRINT, avro_schemas.schema_fingerprint(avro_schemas.schema_text(name)).hex()
            ): avro_schemas.own_schema(name)
            for name in avro_schemas.OWN
        }
        self._foreign = BytesLru[SchemaRef, WriterSchema](MAX_SCHEMA_BYTES)
        self._documents = BytesLru[_Reference, _Document](MAX_DOCUMENT_BYTES)
        self._asking: dict[_Reference, asyncio.Future[_Document]] = {}
        self._refused = BytesLru[SchemaRef, tuple[float, Poison]](MAX_REFUSED_BYTES)

    def known(self, ref: SchemaRef) -> WriterSchema | None:
        """Return a writer schema that is cached; None if it must be fetched."""
        return self._own.get(ref) or self._foreign.get(ref)

    async def fetch(self, ref: SchemaRef) -> WriterSchema:
        """Return a writer schema.

        Raises `Poison` if the registry does not have it or it is invalid, `Retryable` if the registry does not answer.
        """
        if (known := self.known(ref)) is not None:
            return known
        since_s, refusal = self._refused.get(ref) or (0.0, None)
        if refusal is not None and time.monotonic() - since_s < NEGATIVE_TTL_S:
            raise Poison(refusal.reason, str(refusal))
        try:
            root = await self._root(ref)
            references = await self._follow(root)
            own = self._kind.own(root.text)
            schema = await asyncio.to_thread(self._kind.parse, root.text, references) if own is None else own
        except Poison as poison:
            num_bytes = REFUSED_BYTES + len(str(poison))
            self._refused.put(ref, (time.monotonic(), poison), num_bytes=num_bytes)
            raise
        if own is not None and len(self._own) < MAX_OWN:
            self._own[ref] = own
        else:
            self._foreign.put(ref, schema, num_bytes=schema.num_bytes)
        return schema

    def fetch_now(self, ref: SchemaRef) -> WriterSchema:
        """Return a writer schema as `fetch` does; blocks, tries twice, not for use in a running event loop."""
        known = self.known(ref)
        return asyncio.run(_some_times(lambda: self.fetch(ref))) if known is None else known

    def avro_now(self, ref: SchemaRef) -> avro_schemas.Schema:
        """Return an Avro schema as `fetch_now` does, of a kind of schemas that is Avro."""
        schema = self.fetch_now(ref)
        assert isinstance(schema, avro_schemas.Schema)
        return schema

    async def _root(self, ref: SchemaRef) -> _Document:
        if self._client is None or ref.kind is SchemaRefKind.FINGERPRINT:
            raise Poison(
                Reason.SCHEMA,
                f"writer schema {ref.kind} {ref.value} is unknown to this worker",
            )
        place = (
            f"ids/{int(ref.value)}" if ref.kind is SchemaRefKind.ID else f"guids/{UUID(hex=ref.value)}"
        )  # a GUID with dashes
        try:
            return await self._get(self._client, f"/schemas/{place}", f"{ref.kind} {ref.value}")
        except NoSuchSchema as error:
            message = f"writer schema {ref.kind} {ref.value} is not in the registry ({error})"
            raise Poison(Reason.SCHEMA, message) from error

    async def _get(self, client: RegistryClient, path: str, what: str) -> _Document:
        """Return a schema in the format of its kind; of a registry that has no such format, as it was registered.

        Apicurio 2.6.13 does not look at the format, and 3.3.3 answers 500 for a descriptor that it stores in base64.
        """
        query = self._kind.query
        if query:
            try:
                answer = await client.call("GET", f"{path}{'&' if '?' in path else '?'}{query}")
                return _document(answer, what, client.shown, self._kind)
            except (RefusedRequest, _OtherFormat):
                pass
        return _document(await client.call("GET", path), what, client.shown, self._kind)

    async def _follow(self, root: _Document) -> Sequence[Named]:
        """Return all schemas that one refers to, directly or not, with their names, dependencies first."""
        found = _Found(num_bytes=root.num_bytes)
        for reference in root.references:
            await self._visit(reference, (), found)
        return [(reference.name, text) for reference, text in found.texts.items()]

    async def _visit(self, reference: _Reference, path: tuple[_Reference, ...], found: _Found) -> None:
        if reference in path:
            cycle = " -> ".join(map(str, (*path[path.index(reference) :], reference)))
            raise Poison(Reason.SCHEMA, f"writer schema refers to itself: {cycle}")
        if reference in found.texts:
            return
        if len(path) >= MAX_REFERENCE_DEPTH:
            raise Poison(
                Reason.SCHEMA, f"writer schema refers more than {MAX_REFERENCE_DEPTH} schemas deep: {reference}"
            )
        document = await self._referred(reference)
        found.num_bytes += document.num_bytes
        if found.num_bytes > MAX_REFERENCE_BYTES:
            raise Poison(Reason.SCHEMA, f"writer schema and its references have more than {MAX_REFERENCE_BYTES} bytes")
        for one in document.references:
            await self._visit(one, (*path, reference), found)
        found.texts[reference] = document.text
        if len(found.texts) > MAX_REFERENCES:
            raise Poison(Reason.SCHEMA, f"writer schema refers to more than {MAX_REFERENCES} schemas")

    async def _referred(self, reference: _Reference) -> _Document:
        """Return a schema that others refer to; concurrent callers share one request."""
        if (known := self._documents.get(reference)) is not None:
            return known
        if (asking := self._asking.get(reference)) is None:
            asking = self._asking[reference] = asyncio.ensure_future(self._ask(reference))
            asking.add_done_callback(lambda task: self._asked(reference, task))
        return await asyncio.shield(asking)  # a cancelled caller must not cancel it for the others

    def _asked(self, reference: _Reference, task: asyncio.Future[_Document]) -> None:
        del self._asking[reference]
        if not task.cancelled():
            task.exception()  # the callers get it; retrieved here in case none is left

    async def _ask(self, reference: _Reference) -> _Document:
        assert self._client is not None
        try:
            document = await self._get(self._client, reference.path, str(reference))
        except NoSuchSchema as error:
            message = f"writer schema refers to {reference}, which is not in the registry ({error})"
            raise Poison(Reason.SCHEMA, message) from error
        self._documents.put(reference, document, num_bytes=document.num_bytes)
        return document


class Registered(NamedTuple):
    """The ids by subject, and the subjects whose compatibility could not be set: the registry has no call for it."""

    ids: dict[str, int]
    without_compatibility: list[str]


def register(url: str, access: RegistryAccess, subjects: dict[str, str]) -> Registered:
    """Register our schemas with FULL_TRANSITIVE compatibility.

    `subjects` gives the record name by subject.  Raises `BadSettings`, `Retryable` if the registry does not answer.
    """
    client = RegistryClient(url, access)
    found = Registered({}, [])
    try:
        for subject, name in subjects.items():
            where = quote(subject, safe="")
            answer = _call_now(client, "POST", f"/subjects/{where}/versions", _body(name))
            found.ids[subject] = _id(answer, subject, client)
            try:
                answer = _call_now(client, "PUT", f"/config/{where}", {"compatibility": "FULL_TRANSITIVE"})
            except NoSuchCall:  # of a registry: it has just registered the schema
                found.without_compatibility.append(subject)
                continue
            if not isinstance(answer.get("compatibility"), str):
                raise _other_shape(client.shown, f"the compatibility of {subject}", "compatibility")
    except (Retryable, NoSuchSchema) as error:
        raise Retryable(f"{error}; nothing more was registered") from error
    return found


def schema_id(url: str, access: RegistryAccess, subject: str, name: str, watch: RegistryWatch | None = None) -> int:
    """Return the id that one of our schemas has under a subject.

    Raises `BadSettings` if it is not registered, `Retryable` if the registry does not answer.
    """
    client = RegistryClient(url, access, watch)
    try:
        return _id(_call_now(client, "POST", f"/subjects/{quote(subject, safe='')}", _body(name)), subject, client)
    except NoSuchSchema as error:
        message = f"subject {subject}: {name} is not registered; run `mirrorstream schemas register`"
        raise BadSettings(message) from error


def encoder(url: str | None, access: RegistryAccess, topic: str, name: str) -> avro_encoder.Encoder:
    """Return an encoder of one of our records for a topic; single-object without a registry.  Raises as `schema_id`."""
    return avro_encoder.Encoder(name, schema_id=schema_id(url, access, f"{topic}-value", name) if url else None)


def impressions_encoder(settings: KafkaSettings, topic: str) -> Encodes:
    """Return an encoder of impressions as the input's reader takes them.  Raises as `schema_id`, and `BadSettings`."""
    if settings.mapping is not None:  # the format is that of foreign events, among which ours are told by their schema
        return avro_encoder.Encoder("RecommendationImpression")
    if settings.input_format == "json":
        return avro_encoder.JsonEncoder()
    if settings.input_format == "protobuf":
        if settings.protobuf_descriptors is not None:
            raise BadSettings(f"protobuf_descriptors: {topic} has messages of other types than what is written here")
        return ProtobufEncoder()
    return encoder(settings.schema_registry_url, settings.registry_access, topic, "RecommendationImpression")


def schemas(settings: KafkaSettings, watch: RegistryWatch | None = None) -> Schemas:
    """Return the writer schemas of the input.  Raises `BadSettings`."""
    kind = ProtobufKind() if settings.input_format == "protobuf" else AvroKind()
    return Schemas(settings.schema_registry_url, settings.registry_access, watch, kind)


def impression_of(record: Record, known: Schemas, form: InputForm) -> Impression | None:
    """Return a record's impression, None for an event that no mapping is for; blocks.  Raises `Poison`, `Retryable`."""
    value = record.value or b""
    ref = form.schema_of(value, record.headers)
    return form.read(value, record.headers, known.fetch_now(ref) if ref else None)[1]


def _body(name: str) -> dict[str, str]:
    """Return a request with one of our schemas; without a type it is Avro, and old registries know no other field."""
    return {"schema": avro_schemas.schema_text(name)}


def _call_now(client: RegistryClient, method: str, path: str, body: object) -> Mapping[str, Any]:
    return asyncio.run(_some_times(lambda: client.call(method, path, body)))


def decode_now(schemas: Schemas, record: Record, name: str) -> Mapping[str, object]:
    """Decode one of our records by its name; blocks, not for use in a running event loop.

    Raises `Poison` if it can never be decoded, `Retryable` if its schema cannot be fetched now.
    """
    ref, payload = framing.split(record.value or b"", record.headers)
    return codec.decode_plain(payload, schemas.avro_now(ref), name)


async def _some_times(call: Callable[[], Awaitable[T]]) -> T:
    """Retry a call that got no answer: one lost packet must not fail a command."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await call()
        except Retryable:
            await asyncio.sleep(RETRY_S)
    return await call()


def _id(answer: Mapping[str, Any], subject: str, client: RegistryClient) -> int:
    found = answer.get("id")
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 31:
        raise _other_shape(client.shown, f"the id of {subject}", "id")
    return found


def _document(answer: Mapping[str, Any], what: str, registry: str, wanted: SchemaKind) -> _Document:
    """Check the shape of an answer.

    Raises `Retryable` if no registry gave it, `_OtherFormat` if it is not in the format of its kind, and `Poison` if it
    is of another kind.
    """
    text, kind, references = answer.get("schema"), answer.get("schemaType"), answer.get("references")
    has_shape = isinstance(kind, str | None) and isinstance(references, list | None)
    if not isinstance(text, str) or not text or not has_shape:
        raise _other_shape(registry, what, "schema")
    if kind not in wanted.words:
        raise Poison(Reason.SCHEMA, f"writer schema {what} is {ascii(kind or 'AVRO')[1:-1][:20]}, want {wanted.wanted}")
    if not wanted.is_text(text):
        raise _OtherFormat(f"schema registry {registry} {wanted.other_format.format(what=what)}")
    found = [_reference(one) for one in references or ()]
    if None in found:
        raise _other_shape(registry, what, "references")
    return _Document(text, tuple(filter(None, found)))


def _reference(answer: object) -> _Reference | None:
    """Return a valid reference, else None; version -1 is the latest."""
    subject = answer.get("subject") if isinstance(answer, dict) else None
    version = answer.get("version") if isinstance(answer, dict) else None
    if isinstance(subject, str) and isinstance(version, int) and not isinstance(version, bool):
        name = answer.get("name") if isinstance(answer, dict) else None
        known = name if isinstance(name, str) else ""
        is_valid = subject and _is_utf8(subject) and (version > 0 or version == -1)
        return _Reference(subject, version, known) if is_valid else None
    return None


def _is_utf8(text: str) -> bool:
    """Say whether a text can stand in an address: JSON may have half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _other_shape(registry: str, what: str, name: str) -> Retryable:
    return Retryable(f"schema registry {registry} answered for {what} with JSON that has no valid `{name}`")
