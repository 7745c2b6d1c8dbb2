"""A schema registry on the loopback that speaks the calls a client makes, can be away or silent, and counts its calls.

GET  /schemas/ids/{id}                        POST /subjects/{subject}            look up
GET  /schemas/guids/{guid}                    POST /subjects/{subject}/versions   register
GET  /subjects/{subject}/versions/{version}   PUT  /config/{subject}              compatibility

Something else can answer in its place (`page`: a login page, an ingress without a backend).
"""

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from uuid import UUID


class Registry:
    """The server; `failing` is the status that every call gets, 0 for none; until it `speaks`, no call gets any."""

    def __init__(self) -> None:
        self.failing = 0
        self.page: tuple[int, str] | None = None  # status and HTML that every call gets
        self.away: set[int] = set()  # ids that it cannot give
        self.references: dict[int, list[tuple[str, int]]] = {}  # by id: subjects and versions
        self.speaks = threading.Event()
        self.speaks.set()
        self.asked: Counter[str] = Counter()
        self.compatibility: dict[str, str] = {}
        self.schemas: dict[int, str] = {}
        self.kinds: dict[int, str] = {}  # by id; a registry leaves Avro out
        self._subjects: dict[str, list[int]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no calls any more; may be called twice."""
        self.speaks.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, subject: str, text: str, *references: tuple[str, int]) -> int:
        """Register a schema, and the (subject, version) that it refers to; one text has one id."""
        same = (number for number, known in self.schemas.items() if json.loads(known) == json.loads(text))
        number = next(same, len(self.schemas) + 1)
        self.schemas[number] = text
        self.references[number] = list(references)
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and body of one call."""
        self.asked[f"{method} {path}"] += 1
        if self.failing:
            return self.failing, {"error_code": self.failing, "message": "away"}
        return self._get(path) if method == "GET" else self._change(path, body)

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            return self._schema(int(found[1]))
        if found := re.fullmatch(r"/schemas/guids/(\S+)", path):
            return self._schema(next((number for number in self.schemas if guid(number) == UUID(found[1])), 0))
        if found := re.fullmatch(r"/subjects/(.+)/versions/(\d+)", path):
            versions = self._subjects.get(found[1], [])
            if not versions:
                return 404, {"error_code": 40401, "message": "Subject not found"}
            if int(found[2]) > len(versions):
                return 404, {"error_code": 40402, "message": "Version not found"}
            return self._schema(versions[int(found[2]) - 1])
        return 404, {"error_code": 404, "message": path}

    def _change(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if found := re.fullmatch(r"/config/(.+)", path):
            self.compatibility[found[1]] = body["compatibility"]
            return 200, body
        if found := re.fullmatch(r"/subjects/(.+)/versions", path):
            return 200, {"id": self.add(found[1], body["schema"])}
        if found := re.fullmatch(r"/subjects/(.+)", path):
            return self._look_up(found[1], body["schema"])
        return 404, {"error_code": 404, "message": path}

    def _schema(self, number: int) -> tuple[int, dict[str, Any]]:
        if number not in self.schemas:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        if number in self.away:
            return 503, {"error_code": 50301, "message": "away"}
        listed = [
            {"name": "n", "subject": subject, "version": version}
            for subject, version in self.references.get(number, ())
        ]
        more: dict[str, Any] = {"references": listed} if listed else {}
        more |= {"schemaType": self.kinds[number]} if number in self.kinds else {}
        return 200, {"schema": self.schemas[number], "guid": str(guid(number)), "id": number, **more}

    def _look_up(self, subject: str, text: str) -> tuple[int, dict[str, Any]]:
        for version, number in enumerate(self._subjects.get(subject, ()), 1):
            if json.loads(self.schemas[number]) == json.loads(text):
                return 200, {"subject": subject, "id": number, "version": version, "schema": text}
        return 404, {"error_code": 40401, "message": "Subject not found"}


def guid(number: int) -> UUID:
    """Return the GUID that the schema with this id has."""
    return UUID(int=number)


class AnyMethod(BaseHTTPRequestHandler):
    """Answers GET, POST and PUT alike, and logs nothing."""

    def answer(self, body: bytes) -> tuple[int, str, bytes] | None:
        """Return status, content type and body; None for no answer at all."""
        raise NotImplementedError(body)

    def do_GET(self) -> None:
        answer = self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        if answer is None:
            return
        status, kind, data = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET  # noqa: N815 - the names are the library's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(AnyMethod):
        def answer(self, body: bytes) -> tuple[int, str, bytes] | None:
            path = unquote(urlsplit(self.path).path)
            if not registry.speaks.is_set():
                registry.asked[f"{self.command} {path}"] += 1
                registry.speaks.wait()
                return None  # whoever asked has given up, or is told by the end of the connection
            if registry.page is not None:
                registry.asked[f"{self.command} {path}"] += 1
                return registry.page[0], "text/html", registry.page[1].encode()
            status, found = registry.answer(self.command, path, json.loads(body or b"{}"))
            return status, "application/vnd.schemaregistry.v1+json", json.dumps(found).encode()

    return Handler
