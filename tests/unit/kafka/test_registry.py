"""A schema registry, and what answers in its place: over the loopback, byte for byte as each of them says it."""

import asyncio
import gzip
import json
import ssl
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
import trustme

from worker.core.bounded_cache import ENTRY_BYTES
from worker.core.codec import avro_schemas
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.errors import BadSettings, Poison, Retryable
from worker.core.service_requests import RegistryEnd
from worker.kafka import registry, registry_client
from worker.kafka.registry import Schemas
from worker.kafka.registry_client import MAX_BODY_BYTES, RegistryClient, shown
from worker.settings.registry_access import ANONYMOUS, RegistryAccess

IMPRESSION = avro_schemas.schema_text("RecommendationImpression")
SEVEN = SchemaRef(SchemaRefKind.ID, "7")
PASSWORD = "secret-of-this-test"  # noqa: S105 - of a server that lives as long as it does


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body


def said(answer: object, status: str = "200 OK") -> bytes:
    return http(json.dumps(answer).encode(), status)


NO_SUCH = said({"error_code": 40403, "message": "Schema 7 not found"}, "404 Not Found")
GOOD = said({"schema": IMPRESSION})
Say = bytes | Callable[[str], bytes]


class Scripted:
    """A server that says this to every request, or makes it of the path; what it is asked is counted."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: Counter[str] = Counter()
        self.heads: list[str] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = unquote(head.split(" ", 2)[1])
        self.asked[path] += 1
        self.heads.append(head)
        writer.write(self.say if isinstance(self.say, bytes) else self.say(path))
        writer.close()


@asynccontextmanager
async def scripted(say: Say, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    server = Scripted(say)
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0, ssl=tls)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


# -- whose answer it is


@pytest.mark.parametrize("code", [40401, 40402, 40403])
async def test_only_the_registrys_own_words_make_a_dead_letter(code: int) -> None:
    async with scripted(said({"error_code": code, "message": "no"}, "404 Not Found")) as server:
        schemas = Schemas(server.url)
        for _ in range(3):
            with pytest.raises(Poison, match=f"schema id 7 is not in the registry .404, error code {code}") as caught:
                await schemas.fetch(SEVEN)
            assert caught.value.reason == "schema"
    assert server.asked == {"/schemas/ids/7": 1}, "the answer is cached"


GZIP = "content-encoding: gzip"
HTML = b"<html><body>Please log in</body></html>"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
ODD: dict[str, tuple[bytes, str]] = {
    "a login page": (http(HTML, kind="text/html"), "200 with 39 bytes of text/html, want a JSON object"),
    "an ingress' own 404": (http(HTML, "404 Not Found", "text/html"), "not from a registry"),
    "a 404 without a body": (http(b"", "404 Not Found"), "not from a registry"),
    "a 404 of another API": (
        said({"error_code": 404, "message": "HTTP 404 Not Found"}, "404 No"),
        "404, error code 404",
    ),
    "a code in letters": (said({"error_code": "40403"}, "404 No"), "not from a registry"),
    "a code that is no code": (said({"error_code": True}, "404 No"), "not from a registry"),
    "a 404 with problem details": (said({"type": "about:blank", "status": 404}, "404 No"), "not from a registry"),
    "the code with another status": (said({"error_code": 40403, "message": "no"}, "400 Bad"), "returned 400"),
    "the code with 200": (said({"error_code": 40403, "message": "no"}), "no valid `schema`"),
    "an empty body": (http(b""), "200 with 0 bytes"),
    "no content": (http(b"", "204 No Content"), "204 with 0 bytes"),
    "a list": (said([1]), "want a JSON object"),
    "a word": (said("ok"), "want a JSON object"),
    "null": (said(None), "want a JSON object"),
    "an empty object": (said({}), "no valid `schema`"),
    "a health page": (said({"status": "UP"}), "no valid `schema`"),
    "a schema that is an object": (said({"schema": json.loads(IMPRESSION)}), "no valid `schema`"),
    "an empty schema": (said({"schema": ""}), "no valid `schema`"),
    "a schema that is HTML": (said({"schema": HTML.decode()}), "no valid `schema`"),
    "a type that is a number": (said({"schema": IMPRESSION, "schemaType": 1}), "no valid `schema`"),
    "references that are none": (said({"schema": IMPRESSION, "references": {}}), "no valid `schema`"),
    "a reference without a version": (said({"schema": IMPRESSION, "references": [{"subject": "s"}]}), "`references`"),
    "a reference to version 0": (
        said({"schema": IMPRESSION, "references": [{"name": "n", "subject": "s", "version": 0}]}),
        "`references`",
    ),
    "a reference to half of a character": (
        said({"schema": IMPRESSION, "references": [{"name": "n", "subject": "\ud800", "version": 1}]}),
        "`references`",
    ),
    "a nest of brackets": (http(b"[" * 100_000), "want a JSON object"),
    "a number without end": (http(b'{"schema": ' + b"9" * 10_000 + b"}"), "want a JSON object"),
    "half a body": (http(GOOD.partition(b"\r\n\r\n")[2] + b" " * 9)[:-20], "RemoteProtocolError"),
    "less than it says": (GOOD.replace(b"content-length: ", b"content-length: 9"), "RemoteProtocolError"),
    "more than it says": (http(b'{"sch') + b'ema": 1}', "200 with 5 bytes"),
    "no words at all": (b"", "RemoteProtocolError"),
    "another protocol": (b"\x00\x01\x02 SSH-2.0\r\n\r\n", "RemoteProtocolError"),
    "chunks of garbage": (CHUNKED + b"zz\r\n{}\r\n", "RemoteProtocolError"),
    "chunks that end": (CHUNKED + b"5\r\n{}   \r\n", "RemoteProtocolError"),
    "gzip that is none": (http(b"{}", "200 OK", "application/json", GZIP), "cannot be decompressed"),
    "half of gzip": (
        http(gzip.compress(IMPRESSION.encode())[:-20], "200 OK", "application/json", GZIP),
        "is incomplete",
    ),
    "an encoding nobody asked for": (
        http(b"{}", "200 OK", "application/json", "content-encoding: br"),
        "the content encoding 'br', want identity",
    ),
    "a huge body": (http(b" " * (MAX_BODY_BYTES + 1)), "more than 2 MiB"),
    "a small one that unpacks to a huge one": (
        http(gzip.compress(b" " * (MAX_BODY_BYTES + 1)), "200 OK", "application/json", GZIP),
        "more than 2 MiB",
    ),
    "a redirect elsewhere": (
        http(b"", "302 Found", "text/html", "location: https://user:pw@login.example/start?token=x"),
        "redirects .302. to https://login.example/start, which is not followed",
    ),
    "a redirect without a target": (http(b"", "301 Moved", "text/html"), "redirects .301. to nowhere"),
    "a refusal": (said({"error_code": 401, "message": "Unauthorized"}, "401 Unauthorized"), "rejects the credentials"),
    "too many requests": (http(b"", "429 Too Many"), "returned 429"),
    "an error of its own": (
        said({"error_code": 50001, "message": "store"}, "500 Error"),
        "500, error code 50001: store",
    ),
    "a gateway": (http(HTML, "502 Bad Gateway", "text/html"), "returned 502"),
    "not acceptable": (said({"error_code": 406, "message": "HTTP 406"}, "406 No"), "returned 406"),
}


@pytest.mark.parametrize("name", ODD)
async def test_whatever_is_no_registrys_answer_is_an_outage(name: str) -> None:
    say, why = ODD[name]
    async with scripted(say) as server:
        schemas = Schemas(server.url)
        with pytest.raises(Retryable, match=why) as caught:
            await schemas.fetch(SEVEN)
        told = str(caught.value)
        assert told.startswith(f"schema registry {server.url}")
        assert told.isprintable()
        assert len(told) < 600
        assert "pw" not in told
        server.say = GOOD  # and it was not believed for any time
        assert await schemas.fetch(SEVEN) is avro_schemas.own_schema("RecommendationImpression")


async def test_nobody_there_is_an_outage() -> None:
    async with scripted(b"") as server:
        pass
    with pytest.raises(Retryable, match="did not answer: ConnectError"):
        await Schemas(server.url).fetch(SEVEN)
    with pytest.raises(Retryable, match="did not answer"):
        await Schemas("http://no-such-host.invalid:8081").fetch(SEVEN)


async def test_each_request_is_counted_by_how_it_ended() -> None:
    ends: list[RegistryEnd] = []

    class Counted:
        def registry_asked(self, end: RegistryEnd, seconds: float) -> None:
            ends.append(end)
            assert seconds >= 0

    async with scripted(GOOD) as server:
        assert await Schemas(server.url, watch=Counted()).fetch(SEVEN)
        server.say = said({"error_code": 40403, "message": "no"}, "404 Not Found")
        with pytest.raises(Poison):
            await Schemas(server.url, watch=Counted()).fetch(SEVEN)
        server.say = said({"message": "a gateway"}, "502 Bad Gateway")
        with pytest.raises(Retryable):
            await Schemas(server.url, watch=Counted()).fetch(SEVEN)
    assert ends == [RegistryEnd.ANSWERED, RegistryEnd.NOT_FOUND, RegistryEnd.FAILED]


@pytest.mark.parametrize("place", ["head", "body", "nothing"])
async def test_an_answer_that_drips_is_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Each byte comes soon after the last one, so no time-out between two of them ever ends it."""
    monkeypatch.setattr(registry_client, "CALL_S", 0.3)
    sent = {"head": b"HTTP/1.1 200 OK\r\nx-slow: ", "body": CHUNKED, "nothing": b""}[place]

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        while not writer.is_closing():
            writer.write({"head": b"x", "body": b"1\r\n \r\n", "nothing": b""}[place])
            await asyncio.sleep(0.02)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(3.0):
            with pytest.raises(Retryable, match=r"did not answer completely within"):
                await Schemas(url).fetch(SEVEN)


async def test_a_redirect_is_followed_to_nobody() -> None:
    async with scripted(GOOD) as target:

        def send_on(path: str) -> bytes:
            return http(b"", "307 Go", "text/html", f"location: {target.url}{path}")

        async with scripted(send_on) as server:
            with pytest.raises(Retryable, match="redirects"):
                await Schemas(server.url).fetch(SEVEN)
    assert target.asked == {}


async def test_packed_answers_are_not_asked_for_but_read() -> None:
    packed = http(gzip.compress(json.dumps({"schema": IMPRESSION}).encode()), "200 OK", "application/json", GZIP)
    async with scripted(packed) as server:
        assert await Schemas(server.url).fetch(SEVEN) is avro_schemas.own_schema("RecommendationImpression")
    assert "accept-encoding: identity\r\n" in server.heads[0].lower()


async def test_a_registry_under_a_path_and_a_second_one_are_asked() -> None:
    async with scripted(http(HTML, kind="text/html")) as odd, scripted(GOOD) as good:
        assert await Schemas(f"{odd.url}, {good.url}/apis/ccompat/v7/").fetch(SEVEN)
        assert good.asked == {"/apis/ccompat/v7/schemas/ids/7": 1}
        good.say = NO_SUCH
        with pytest.raises(Poison):
            await Schemas(f"{odd.url},{good.url}").fetch(SEVEN)
        good.say = http(b"")
        with pytest.raises(Retryable) as caught:
            await Schemas(f"{odd.url},{good.url}").fetch(SEVEN)
        assert odd.url in str(caught.value)
        assert good.url in str(caught.value)


async def test_a_schema_of_another_language_is_a_dead_letter() -> None:
    async with scripted(said({"schema": '{"type": "object"}', "schemaType": "JSON"})) as server:
        with pytest.raises(Poison, match="id 7 is JSON, want AVRO"):
            await Schemas(server.url).fetch(SEVEN)


async def test_a_refusal_is_believed_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(NO_SUCH) as server:
        schemas = Schemas(server.url)
        with pytest.raises(Poison):
            await schemas.fetch(SEVEN)
        server.say = GOOD
        with pytest.raises(Poison):
            await schemas.fetch(SEVEN)
        monkeypatch.setattr(registry, "NEGATIVE_TTL_S", 0.0)
        assert await schemas.fetch(SEVEN)


# -- credentials


def test_a_password_is_shown_nowhere() -> None:
    for url in (
        f"http://user:{PASSWORD}@registry:8081/apis",
        f"http://user:{PASSWORD}/odd@registry:8081/apis",
        f"http://user:{PASSWORD}?odd@registry:8081/apis",
        f"http://user:{PASSWORD}#odd@registry:8081/apis",
        f"http://user:a@{PASSWORD}@registry:8081/apis",
    ):
        assert shown(url) == "http://registry:8081/apis"
    for url in (f"user:{PASSWORD}@registry", f"ftp://user:{PASSWORD}@registry", "", "http://", "http://a?b=c"):
        with pytest.raises(BadSettings, match="want http://HOST:PORT") as caught:
            RegistryClient(url)
        assert PASSWORD not in str(caught.value)


async def test_credentials_of_the_address_go_into_a_header_and_no_message() -> None:
    async with scripted(http(HTML, "401 Unauthorized", "text/html")) as server:
        url = server.url.replace("://", f"://user:{PASSWORD}@")
        with pytest.raises(Retryable, match="rejects the credentials") as caught:
            await Schemas(url).fetch(SEVEN)
        assert PASSWORD not in str(caught.value)
        assert "authorization: basic " in server.heads[0].lower()
        assert PASSWORD not in server.heads[0]


async def test_credentials_of_a_file_are_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("user:old\n")
    async with scripted(http(b"", "401 Unauthorized")) as server:
        schemas = Schemas(server.url, RegistryAccess(file))
        with pytest.raises(Retryable):
            await schemas.fetch(SEVEN)
        file.write_text("user:new\n")
        with pytest.raises(Retryable):
            await schemas.fetch(SEVEN)
    first, second = (head.lower().partition("authorization: ")[2].partition("\r\n")[0] for head in server.heads)
    assert first != second


@pytest.mark.parametrize("content", [None, b"no colon", b"\xff:\xff"])
def test_an_auth_file_of_no_use_is_a_setting_to_mend(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "auth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadSettings, match="want a file with user:password, or Bearer TOKEN"):
        Schemas("http://registry:8081", RegistryAccess(file))


async def test_a_token_is_sent_as_one(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("Bearer a.b:c\n")
    async with scripted(GOOD) as server:
        assert await Schemas(server.url, RegistryAccess(file)).fetch(SEVEN)
    assert "\r\nauthorization: bearer a.b:c\r\n" in server.heads[0].lower()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


async def test_a_registry_that_asks_for_a_certificate_gets_ours_read_anew(
    authority: trustme.CA, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def renew(by: trustme.CA) -> None:
        issued = by.issue_cert("worker")
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)

    async with scripted(GOOD, tls) as server:
        with pytest.raises(Retryable, match="did not answer"):
            await Schemas(server.url).fetch(SEVEN)
        renew(trustme.CA())
        schemas = Schemas(server.url, RegistryAccess(certificate_file=certificate, key_file=key))
        with pytest.raises(Retryable, match="did not answer"):
            await schemas.fetch(SEVEN)
        renew(authority)
        assert await schemas.fetch(SEVEN)


@pytest.mark.parametrize(("name", "content"), [("tls.crt", b""), ("tls.key", b"no key")])
def test_a_certificate_of_no_use_is_a_setting_to_mend(tmp_path: Path, name: str, content: bytes) -> None:
    issued = trustme.CA().issue_cert("worker")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSettings, match=r"^schema_registry_certificate_file: .*; want PEM files"):
        Schemas("https://registry:8081", RegistryAccess(certificate_file=certificate, key_file=key))


# -- references


def record(name: str, *fields: tuple[str, object]) -> str:
    return json.dumps(
        {"type": "record", "name": name, "namespace": "n", "fields": [{"name": n, "type": t} for n, t in fields]}
    )


class Subjects:
    """A registry of schemas with references: name to text and the names that it refers to, all in version 1."""

    def __init__(self, **schemas: tuple[str, list[str]]) -> None:
        self.schemas = schemas

    def __call__(self, path: str) -> bytes:
        place = path.removeprefix("/schemas/ids/7").removeprefix("/schemas/guids/").partition("?")[0]
        name = (
            place.removeprefix("/subjects/").removesuffix("/versions/1") if place.startswith("/subjects/") else "root"
        )
        if name not in self.schemas:
            return said({"error_code": 40401, "message": f"Subject '{name}' not found."}, "404 Not Found")
        text, references = self.schemas[name]
        listed = [{"name": f"n.{one}", "subject": one, "version": 1} for one in references]
        return said({"subject": name, "version": 1, "id": 1, "schema": text, "references": listed})


@pytest.mark.parametrize("ref", [SEVEN, SchemaRef(SchemaRefKind.GUID, "0af7651916cd43dd8448eb211c80319c")])
async def test_a_schema_is_made_of_all_that_it_refers_to(ref: SchemaRef) -> None:
    """A diamond: `leaf` is referred to twice and fetched once; so it is for the next schema that needs it."""
    subjects = Subjects(
        root=(record("root", ("left", "n.left"), ("right", "n.right")), ["left", "right"]),
        left=(record("left", ("leaf", "n.leaf")), ["leaf"]),
        right=(record("right", ("leaf", "n.leaf")), ["leaf"]),
        leaf=(record("leaf", ("x", "int")), []),
    )
    async with scripted(subjects) as server:
        schemas = Schemas(server.url)
        found = await schemas.fetch(ref)
        assert schemas.known(ref) is found
        assert set(server.asked.values()) == {1}
        assert server.asked["/subjects/leaf/versions/1?deleted=true"] == 1
        await schemas.fetch(SchemaRef(SchemaRefKind.GUID, "00000000000000000000000000000001"))
        assert server.asked.total() == 5, "what it refers to was known"
    assert isinstance(found, avro_schemas.Schema)
    for side in found.root.fields:
        [leaf] = side.type.fields
        assert [(each.name, each.type.kind) for each in leaf.type.fields] == [("x", "int")], side.name
    assert [side.name for side in found.root.fields] == ["left", "right"]


async def test_schemas_that_are_fetched_at_once_ask_once_for_what_they_share() -> None:
    subjects = Subjects(root=(record("root", ("leaf", "n.leaf")), ["leaf"]), leaf=(record("leaf", ("x", "int")), []))
    async with scripted(subjects) as server:
        schemas = Schemas(server.url)
        refs = [SchemaRef(SchemaRefKind.GUID, f"{number:032x}") for number in range(1, 6)]
        given_up = asyncio.create_task(schemas.fetch(refs[0]))
        others = [asyncio.create_task(schemas.fetch(ref)) for ref in refs[1:]]
        while "/subjects/leaf/versions/1?deleted=true" not in server.asked:  # noqa: ASYNC110 - plain data
            await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.gather(*others)
    assert server.asked["/subjects/leaf/versions/1?deleted=true"] == 1


async def test_an_impression_whose_user_is_a_schema_of_its_own_is_decoded() -> None:
    main = json.loads(IMPRESSION)
    [field] = [field for field in main["fields"] if field["name"] == "user"]
    user = dict(field["type"], namespace=main["namespace"])
    field["type"] = f"{main['namespace']}.{user['name']}"
    subjects = Subjects(root=(json.dumps(main), ["user"]), user=(json.dumps(user), []))
    async with scripted(subjects) as server:
        assert await Schemas(server.url).fetch(SEVEN)


async def test_a_reference_that_the_registry_does_not_have_is_a_dead_letter_and_an_outage_is_none() -> None:
    subjects = Subjects(root=(record("root", ("a", "n.a")), ["a/b c"]))
    async with scripted(subjects) as server:
        schemas = Schemas(server.url)
        with pytest.raises(
            Poison, match=r"refers to a/b c version 1, which is not in the registry .404, error code 40401"
        ):
            await schemas.fetch(SEVEN)
        assert "/subjects/a%2Fb%20c/versions/1?deleted=true" in server.heads[1]
        server.say = lambda path: subjects(path) if "ids" in path else http(HTML, "404 Not Found", "text/html")
        with pytest.raises(Retryable, match="not from a registry"):
            await Schemas(server.url).fetch(SEVEN)
        server.say = lambda path: subjects(path) if "ids" in path else said({"schema": 5})
        with pytest.raises(Retryable, match="answered for a/b c version 1 with JSON that has no valid"):
            await Schemas(server.url).fetch(SEVEN)


@pytest.mark.parametrize(
    ("schemas", "why"),
    [
        (Subjects(root=('"n.a"', ["a"]), a=(record("a", ("b", "n.b")), ["b"]), b=(record("b", ("a", "n.a")), ["a"])),
         "a version 1 -> b version 1 -> a version 1"),
        (Subjects(root=('"n.a"', ["a"]), a=(record("a", ("a", "n.a")), ["a"])), "a version 1 -> a version 1"),
        (Subjects(root=('"int"', ["s0"]), **{f"s{n}": ('"int"', [f"s{n + 1}"]) for n in range(20)}),
         "more than 8 schemas deep"),
        (Subjects(root=('"int"', [f"s{n}" for n in range(100)]), **{f"s{n}": ('"int"', []) for n in range(100)}),
         "more than 64 schemas"),
        (Subjects(root=('"int"', ["a", "b"]), a=(json.dumps("x" * 600_000), []), b=(json.dumps("x" * 600_000), [])),
         "more than 1048576 bytes"),
    ],
)  # fmt: skip
async def test_what_refers_to_itself_or_to_too_much_is_a_dead_letter(schemas: Subjects, why: str) -> None:
    async with scripted(schemas) as server:
        with pytest.raises(Poison, match=why) as caught:
            await Schemas(server.url).fetch(SEVEN)
        assert caught.value.reason == "schema"
        assert server.asked.total() <= 66


async def test_a_net_of_references_is_walked_once_each() -> None:
    """Each of 8 layers refers to all of the next: 4**8 ways through 32 schemas."""
    layers = {
        f"s{layer}x{n}": ('"int"', [f"s{layer + 1}x{m}" for m in range(4)] if layer < 7 else [])
        for layer in range(8)
        for n in range(4)
    }
    subjects = Subjects(root=('"int"', [f"s0x{n}" for n in range(4)]), **layers)
    async with scripted(subjects) as server:
        await Schemas(server.url).fetch(SEVEN)
        assert server.asked.total() == 33


# -- caches


async def test_foreign_schemas_are_bounded_in_bytes_and_evict_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    text = record("r", *((f"f{n}", "int") for n in range(100)))
    size = avro_schemas.writer_schema(text).num_bytes + ENTRY_BYTES
    monkeypatch.setattr(registry, "MAX_SCHEMA_BYTES", 10 * size)
    monkeypatch.setattr(registry, "MAX_REFUSED_BYTES", 10_000)

    def say(path: str) -> bytes:
        number = int(path.rpartition("/")[2])
        if number == 7:
            return GOOD
        return said({"schema": text}) if number < 1_000 else NO_SUCH

    async with scripted(say) as server:
        schemas = Schemas(server.url)
        await schemas.fetch(SEVEN)
        for number in range(100, 150):
            await schemas.fetch(SchemaRef(SchemaRefKind.ID, str(number)))
        for number in range(1_000, 1_050):
            with pytest.raises(Poison):
                await schemas.fetch(SchemaRef(SchemaRefKind.ID, str(number)))
    assert len(schemas._foreign) == 10
    assert schemas.known(SchemaRef(SchemaRefKind.ID, "149")) is not None
    assert schemas.known(SchemaRef(SchemaRefKind.ID, "100")) is None
    assert 5 < len(schemas._refused) < 20
    assert schemas.known(SEVEN) is not None, "our own, under whatever id"
    for name in avro_schemas.OWN:
        ours = SchemaRef(
            SchemaRefKind.FINGERPRINT, avro_schemas.schema_fingerprint(avro_schemas.schema_text(name)).hex()
        )
        assert schemas.known(ours) is not None


def test_the_size_of_a_parsed_schema_is_an_upper_bound() -> None:
    raw = json.loads(IMPRESSION)
    raw["doc"] = "not quite ours"
    text = json.dumps(raw)
    tracemalloc.start()
    try:
        kept = [avro_schemas.writer_schema(text) for _ in range(10)]
        size = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    assert size < kept[0].num_bytes


# -- who else asks


async def test_the_id_of_our_schema_needs_the_registrys_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RETRY_S", 0.0)

    async def schema_id(url: str) -> int:
        return await asyncio.to_thread(registry.schema_id, url, ANONYMOUS, "responses-value", "SimulatedResponse")

    async with scripted(said({"subject": "responses-value", "id": 9, "version": 1, "schema": "..."})) as server:
        assert await schema_id(server.url) == 9
        for say in (said({"error_code": 40401}, "404 No"), NO_SUCH):
            server.say = say
            with pytest.raises(BadSettings, match=r"subject responses-value: .*mirrorstream schemas register"):
                await schema_id(server.url)
        odd = [said({}), said({"id": "9"}), said({"id": True}), said({"id": -1}), said({"id": 2**31})]
        for say in (*odd, *(say for say, _ in ODD.values())):
            server.say = say
            if say != ODD["the code with 200"][0]:
                with pytest.raises(Retryable, match="schema registry http://127"):
                    await schema_id(server.url)


async def test_a_command_asks_twice_and_a_lying_registry_registers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RETRY_S", 0.0)
    subjects = {"responses-value": "SimulatedResponse"}

    async def register(url: str) -> registry.Registered:
        return await asyncio.to_thread(registry.register, url, ANONYMOUS, subjects)

    def good(path: str) -> bytes:
        return said({"compatibility": "FULL_TRANSITIVE"} if path.startswith("/config") else {"id": 3})

    async with scripted(good) as server:
        assert await register(server.url) == ({"responses-value": 3}, [])
        assert list(server.asked) == ["/subjects/responses-value/versions", "/config/responses-value"]
        server.asked.clear()
        server.say = said({"error_code": 409, "message": "incompatible with an earlier schema"}, "409 Conflict")
        with pytest.raises(Retryable, match=r"409: incompatible with an earlier schema.*nothing more was registered"):
            await register(server.url)
        assert server.asked.total() == 2
        for say in (http(HTML, kind="text/html"), NO_SUCH, said({"id": 3})):
            server.say = say
            with pytest.raises(Retryable, match="nothing more was registered"):
                await register(server.url)


LACKS_A_CALL = {
    "Karapace": said({"message": "Not Found", "status": 404}, "404 Not Found"),
    "no method": said({"code": 405}, "405 Method Not Allowed"),
    "Cloudera": said({"responseMessage": "An exception with message [HTTP 404 Not Found] was thrown"}, "500 Error"),
}


@pytest.mark.parametrize("name", LACKS_A_CALL)
async def test_a_registry_without_a_compatibility_of_its_subjects_registers_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has just answered another call; an outage of this one call is still an outage."""
    monkeypatch.setattr(registry, "RETRY_S", 0.0)
    subjects = {"responses-value": "SimulatedResponse", "outcomes-value": "Outcome"}
    lacks = LACKS_A_CALL[name]
    async with scripted(lambda path: lacks if path.startswith("/config") else said({"id": 3})) as server:
        found = await asyncio.to_thread(registry.register, server.url, ANONYMOUS, subjects)
        assert found == (dict.fromkeys(subjects, 3), list(subjects))
        for away in (http(HTML, "404 Not Found", "text/html"), said({"error_code": 50001}, "500 Error")):
            lacks = away
            with pytest.raises(Retryable, match="nothing more was registered"):
                await asyncio.to_thread(registry.register, server.url, ANONYMOUS, subjects)


async def test_an_avro_schema_is_sent_without_a_type_that_old_registries_refuse() -> None:
    assert registry._body("Outcome").keys() == {"schema"}


async def test_clouderas_words_for_a_schema_that_a_subject_has_not_are_understood() -> None:
    none = said({"responseCode": 1101, "responseMessage": "Entity with id [a] not found."}, "404 Not Found")
    async with scripted(none) as server:
        with pytest.raises(BadSettings, match="mirrorstream schemas register"):
            await asyncio.to_thread(registry.schema_id, server.url, ANONYMOUS, "responses-value", "SimulatedResponse")


def test_without_a_registry_only_our_own_fingerprints_are_known() -> None:
    schemas = Schemas(None)
    with pytest.raises(Poison, match="id 7 is unknown to this worker"):
        schemas.fetch_now(SEVEN)
    with pytest.raises(Poison, match="fingerprint 00 is unknown to this worker"):
        schemas.fetch_now(SchemaRef(SchemaRefKind.FINGERPRINT, "00"))
