"""A real Prometheus, and its promtool, for claims about rules, dashboards and `/metrics`.

Both come from Debian's package `prometheus`: those on the PATH, else they are downloaded and unpacked once, without
being installed.  The server listens on 127.0.0.1 alone, keeps its data in a folder of the test, and dies with it.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.support.kafka_broker import free_ports
from tests.support.patience import patience

PACKAGE = "prometheus"
DOWNLOAD_TIMEOUT_S = 300.0  # 19 MB, and the lists of packages if there are none
START_S = 30.0
SCRAPE_S = 1
POLL_S = 0.1


def promtool(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run promtool to its end."""
    return subprocess.run(
        [program("promtool"), *words], capture_output=True, text=True, check=False, timeout=patience(60)
    )


class Prometheus:
    """A server that scrapes some addresses every second."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._port, self._process, self._log = port, process, log

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query: their labels (`metric`) and `value`."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def get(self, what: str, **parameters: str) -> Any:
        """Return the data of a call of its API.  Raises `AssertionError` with its message if it refuses."""
        status, body = self._page(f"/api/v1/{what}?{urlencode(parameters)}")
        assert status == HTTPStatus.OK, f"{what} {parameters}: {status}: {body}\n{self.log}"
        return json.loads(body)["data"]

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds."""
        deadline_s = time.monotonic() + patience(START_S)
        while not condition():
            assert self._process.poll() is None, f"want {what}, but Prometheus has ended:\n{self.log}"
            assert time.monotonic() < deadline_s, f"no {what} within {patience(START_S):.0f} s:\n{self.log}"
            time.sleep(POLL_S)

    def ready(self) -> bool:
        """Return True once it answers queries."""
        try:
            return self._page("/-/ready")[0] == HTTPStatus.OK
        except OSError:
            return False

    def _page(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=patience(10))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def prometheus(folder: Path, jobs: Mapping[str, str], rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes one address (HOST:PORT) a job, and evaluates these rule files."""
    (port,) = free_ports(1)
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [to]}]} for job, to in jobs.items()],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / "prometheus.log"
    command = [
        "setpriv", "--pdeathsig", "KILL", program("prometheus"), f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        one = Prometheus(port, process, log)
        one.until(one.ready, "Prometheus that answers")
        yield one
    finally:
        process.kill()
        process.wait(patience(START_S))


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; it is downloaded if need be.

    The folder is filled under another name first, so that an interrupted download is never taken for a whole one.
    """
    if (installed := shutil.which(name)) is not None:
        return installed
    cache = Path(os.environ.get("MIRRORSTREAM_CACHE") or Path.home() / ".cache" / "mirrorstream")
    folder = cache / f"debian-{PACKAGE}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as scratch:
            _download(Path(scratch))
            if not folder.is_dir():  # another process may have been first
                Path(scratch, "package").rename(folder)
    return str(folder / "usr" / "bin" / name)


def _download(scratch: Path) -> None:
    """Download the package with apt and unpack it; where apt knows no packages, with lists of its own."""
    own = [f"-oDir::State::lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oDebug::NoLocking=1"]
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "cache" / "archives" / "partial").mkdir(parents=True)
    if not _apt(["download", PACKAGE], scratch):
        assert _apt([*own, "update"], scratch), "apt-get update failed; install Debian's package prometheus"
        assert _apt([*own, "download", PACKAGE], scratch), f"apt-get has no {PACKAGE}; install it (Debian's name)"
    (package,) = scratch.glob("*.deb")
    subprocess.run(["dpkg", "-x", package, scratch / "package"], check=True, timeout=patience(DOWNLOAD_TIMEOUT_S))


def _apt(words: Sequence[str], folder: Path) -> bool:
    done = subprocess.run(
        ["apt-get", *words], cwd=folder, capture_output=True, check=False, timeout=patience(DOWNLOAD_TIMEOUT_S)
    )
    return done.returncode == 0
