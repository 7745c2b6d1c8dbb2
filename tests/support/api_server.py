"""A real Kubernetes API server with etcd on this machine, without nodes: what it accepts, a cluster accepts.

    with ApiServer(folder) as server:
        server.helm("install", "rel", chart, namespace="trial")

Nothing runs in it: there is no scheduler, no kubelet and no controller.  It listens on 127.0.0.1 alone.
"""

import json
import os
import shutil
import ssl
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml

from tests.support.kafka_broker import free_ports
from tests.support.kubernetes import definition_files, go
from tests.support.patience import patience

VERSION = "1.37.2"  # of k8s.io/kubernetes in go.mod: Helm asks the server for it
TOKEN = "test"  # noqa: S105 - of a server on the loopback that ends with its test
READY_TIMEOUT_S = 120.0
HELM_TIMEOUT_S = 120.0
CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
YAML_PATCH = "application/apply-patch+yaml"


def build(folder: Path) -> Path:
    """Build the server: 15 minutes of a processor at first, seconds later."""
    name = "k8s.io/component-base/version"
    major, minor, _ = VERSION.split(".")
    said = f"-X {name}.gitVersion=v{VERSION} -X {name}.gitMajor={major} -X {name}.gitMinor={minor}"
    program = folder / "kube-apiserver"
    go("build", "-trimpath", "-ldflags", f"-s -w {said}", "-o", str(program), "k8s.io/kubernetes/cmd/kube-apiserver")
    return program


def kubectl(folder: Path) -> Path:
    """Build the client, into a folder that can stand in the PATH."""
    program = folder / "kubectl"
    go("build", "-trimpath", "-ldflags", "-s -w", "-o", str(program), "k8s.io/kubernetes/cmd/kubectl")
    return program


class ApiServer:
    """The server, its etcd, and a Helm that talks to it."""

    def __init__(self, folder: Path, program: Path, helm: Path) -> None:
        self._folder, self._program, self._helm = folder, program, helm
        self._port, etcd, peer = free_ports(3)
        self._etcd, self._peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self._stack = ExitStack()
        self._context = ssl._create_unverified_context()  # noqa: S323 - its certificate is made at its start

    def __enter__(self) -> Self:
        store = shutil.which("etcd")
        assert store, "no etcd in the PATH; Debian: etcd-server"
        words = {
            "data-dir": self._folder / "etcd", "listen-client-urls": self._etcd, "advertise-client-urls": self._etcd,
            "listen-peer-urls": self._peer, "initial-advertise-peer-urls": self._peer,
            "initial-cluster": f"default={self._peer}",
        }  # fmt: skip
        self._start(store, words)
        key = self._folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], capture_output=True, check=True)
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{TOKEN},admin,admin,system:masters\n", encoding="utf-8")
        self._start(self._program, {
            "etcd-servers": self._etcd, "bind-address": "127.0.0.1", "secure-port": self._port,
            "cert-dir": self._folder / "certificates", "token-auth-file": tokens, "authorization-mode": "AlwaysAllow",
            "service-account-issuer": "https://kubernetes.default.svc", "service-account-key-file": key,
            "service-account-signing-key-file": key, "service-cluster-ip-range": "10.0.0.0/24",
            "endpoint-reconciler-type": "none", "disable-admission-plugins": "ServiceAccount",
        })  # fmt: skip
        self._until_ready()
        for file in definition_files():
            group, _, plural = file.stem.partition("_")
            self.apply(f"{CUSTOM}/{plural}.{group}", file.read_bytes())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, program: str | Path, words: dict[str, Any]) -> None:
        log = self._stack.enter_context((self._folder / f"{Path(program).name}.log").open("wb"))
        # Dies with the thread that starts it, so that a test run that is killed leaves nothing behind.
        options = [f"--{name}={value}" for name, value in words.items()]
        command = ["setpriv", "--pdeathsig", "KILL", str(program), *options]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def _until_ready(self) -> None:
        deadline_s = time.monotonic() + patience(READY_TIMEOUT_S)
        while True:
            try:
                self.call("GET", "/readyz")
            except (HTTPError, URLError, ConnectionError):
                log = (self._folder / "kube-apiserver.log").read_text(encoding="utf-8")[-2_000:]
                assert time.monotonic() < deadline_s, log
                time.sleep(0.2)
            else:
                return

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """Call the server; raises HTTPError with what it says."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        request = Request(f"https://127.0.0.1:{self._port}{path}", body, headers, method=method)
        with urlopen(request, context=self._context, timeout=patience(30)) as answer:  # noqa: S310 - https
            return bytes(answer.read())

    def apply(self, path: str, text: bytes, manager: str = "tests") -> None:
        """Apply an object on the server's side, as another owner of its fields."""
        self.call("PATCH", f"{path}?fieldManager={manager}&force=true", text, YAML_PATCH)

    def get(self, path: str) -> dict[str, Any]:
        """Return an object."""
        found: dict[str, Any] = json.loads(self.call("GET", path))
        return found

    def kubeconfig(self) -> Path:
        """Write a client's configuration for this server."""
        cluster = {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}
        text = yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })  # fmt: skip
        file = self._folder / "kubeconfig"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return file

    def scale(self, path: str, replicas: int) -> None:
        """Set the replicas of a workload as an autoscaler does."""
        found = self.get(f"{path}/scale")
        found["spec"]["replicas"] = replicas
        self.call("PUT", f"{path}/scale?fieldManager=horizontal-pod-autoscaler", json.dumps(found).encode())

    def helm(self, *words: str | Path, namespace: str) -> str:
        """Run Helm; nothing may be refused, and no warning of the server be said."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM"))}
        home = {
            name: str(self._folder / "helm-home") for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        }
        server = ["--kube-apiserver", f"https://127.0.0.1:{self._port}", "--kube-token", TOKEN]
        command = [self._helm, *words, "--namespace", namespace, *server, "--kube-insecure-skip-tls-verify"]
        limit_s = patience(HELM_TIMEOUT_S)
        done = subprocess.run(
            [str(word) for word in command],
            env=own | home,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        assert done.returncode == 0, f"helm {words[0]}: {done.stderr[:800]}"
        assert "would violate" not in done.stderr, done.stderr
        return done.stdout
