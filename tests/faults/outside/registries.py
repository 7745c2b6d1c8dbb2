"""A schema registry that answers something else for a while: nothing that could be answered is dead-lettered.

Only its own "no such schema" (a 404 with its error code) is a dead letter; all else is an outage that is waited for.
"""

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.events import impression, payload, schema_text
from tests.support.schema_registry import Registry

from .ledger import Entry, Fate
from .play import Play
from .topics import draw_group, workers

HTML = b"<!doctype html><html><body>Please log in</body></html>"
SLOW_S = 12.0  # longer than the worker waits for one answer
BACK_S = 60.0  # after it is back: the worker's own waits grow
JSON, PAGE = "application/vnd.schemaregistry.v1+json", "text/html"


@dataclass(frozen=True, slots=True)
class Lie:
    """What stands in the place of an answer."""

    name: str
    status: int = 200
    body: bytes = HTML
    kind: str = PAGE
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False  # half of what was announced, then the end of the connection
    delay_s: float = 0.0


LIES = [
    Lie("a login page with status 200"),
    Lie("an ingress' own 404", 404, b"<html>default backend - 404</html>"),
    Lie("a plain 404", 404, b"404 page not found\n", "text/plain"),
    Lie("a 404 in JSON that is not the registry's", 404, b'{"detail":"Not Found"}', "application/json"),
    Lie("a 404 in JSON with the wrong code", 404, b'{"error_code":404,"message":"HTTP 404 Not Found"}', JSON),
    Lie("an empty 404", 404, b"", JSON),
    Lie("a redirect to elsewhere", 302, b"", PAGE, (("Location", "http://127.0.0.1:9/login"),)),
    Lie("a redirect to a page", 307, b"", PAGE, (("Location", "/login"),)),
    Lie("half a body", 200, b'{"schema": "{', JSON, cut=True),
    Lie("broken JSON", 200, b'{"schema": "{\\"type\\"', JSON),
    Lie("JSON of another shape", 200, b'{"status": "ok"}', JSON),
    Lie("a list", 200, b"[]", JSON),
    Lie("a number in the place of the schema", 200, b'{"schema": 7}', JSON),
    Lie("null in the place of the schema", 200, b'{"schema": null}', JSON),
    Lie("nothing with status 200", 200, b"", JSON),
    Lie("nothing with status 204", 204, b"", JSON),
    Lie("bytes that are no text", 200, b"\xff\xfe\x00\x01", JSON),
    Lie("500", 500, b'{"error_code":50001,"message":"Error in the backend data store"}', JSON),
    Lie("502 of a proxy", 502, b"<html>Bad Gateway</html>"),
    Lie("503", 503, b"", PAGE, (("Retry-After", "1"),)),
    Lie("401 of a proxy", 401, b"<html>who are you?</html>"),
    Lie("403 of a proxy", 403, b"<html>no</html>"),
    Lie("429", 429, b"slow down", "text/plain"),
    Lie("410 of a proxy", 410, HTML),
    Lie("400 of a proxy", 400, b"<html>Bad Request</html>"),
    Lie("a late answer", 503, b"", PAGE, delay_s=SLOW_S),
]


@dataclass(slots=True)
class Liar:
    """A server before a registry: hands its answers on, or tells one lie in the place of all of them."""

    registry: Registry
    lie: Lie | None = None
    asked: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


def lying(play: Play) -> None:
    """The registry lies while records come, or at the worker's start, twice in a row or once, and is back."""
    chance = play.chance
    draw_group(play, start_from="earliest")
    lies = chance.sample(LIES, chance.choice([1, 1, 2]))
    liar = play.stack.enter_context(Liar(Registry()))
    _play(play, liar, lies, at_start=chance.random() < 0.3)


def _play(play: Play, liar: Liar, lies: list[Lie], *, at_start: bool) -> None:
    chance = play.chance
    known, late = _schemas(play, liar.registry)
    play.stage.overrides["schema_registry_url"] = liar.url
    play.make_outputs()
    play.make("in", chance.choice([1, 2]))
    if at_start:
        play.say(f"the registry tells at the start: {lies[0].name}")
        liar.lie = lies[0]
        number = play.worker()
    else:
        [number] = workers(play, 1)
        send(play, known, range(5))
        play.settle()
    one = play.watched[number]
    for index, lie in enumerate(lies):
        play.say(f"the registry tells: {lie.name}")
        liar.lie = lie
        send(play, late, range(100 * (index + 1), 100 * (index + 1) + chance.choice([3, 20, 70])))
        play.until(
            lambda: any("registry" in text for text in one.evidence.unready) or not play.findings().pending,
            "unready worker", within_s=25,
        )  # fmt: skip
        play.rest(chance.uniform(0.5, 2.5))
    play.expect("a registry that answers something else", number, line=["registry"], unready=["registry"])
    play.say("the registry is back")
    liar.lie = None
    if chance.random() < 0.4:  # what really is not there still is a dead letter
        missing = [(b"user", b"\x00" + (9999).to_bytes(4, "big") + payload(impression(1))) for _ in range(3)]
        play.send_raw("in", missing, Fate.DEAD, detail="schema.*9999")
    play.settle(within_s=BACK_S)
    send(play, known, range(1000, 1005))


def _schemas(play: Play, registry: Registry) -> tuple[int, int]:
    """Register both topics' schemas; return the id that is asked for before the lies, and one for meanwhile."""
    registry.add(f"{play.responses}-value", schema_text("SimulatedResponse"))
    known = registry.add(f"{play.topic('in')}-value", schema_text("RecommendationImpression"))
    late = json.loads(schema_text("RecommendationImpression")) | {"doc": "a later version"}
    return known, registry.add("late", json.dumps(late))


def send(play: Play, schema: int, numbers: range) -> list[Entry]:
    """Send impressions with a registry's id before them."""
    events = [impression(number) for number in numbers]
    values = [
        (event["user"]["user_id"].encode(), b"\x00" + schema.to_bytes(4, "big") + payload(event)) for event in events
    ]
    return play.send_raw("in", values, Fate.ANSWERED, events=events)


def _handler(liar: Liar) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            liar.asked.append(self.path)
            lie = liar.lie
            if lie is None and self.path != "/login":
                path = self.path.partition("?")[0]
                status, found = liar.registry.answer(self.command, path, json.loads(body or b"{}"))
                self._say(Lie("", status, json.dumps(found).encode(), JSON))
            elif self.path == "/login":
                self._say(LIES[0])
            elif lie is not None:
                self._say(lie)

        do_POST = do_PUT = do_GET  # noqa: N815 - the names are the library's

        def _say(self, lie: Lie) -> None:
            threading.Event().wait(lie.delay_s)
            self.send_response(lie.status)
            self.send_header("Content-Type", lie.kind)
            if lie.status != 204:
                self.send_header("Content-Length", str(len(lie.body) * (2 if lie.cut else 1)))
            for name, value in lie.headers:
                self.send_header(name, value)
            with suppress(OSError):  # whoever asked has waited for long enough
                self.end_headers()
                self.wfile.write(lie.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            pass

    return Handler
