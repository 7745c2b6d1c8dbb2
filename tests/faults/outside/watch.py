"""Looks at worker processes while they run, because what /readyz and /metrics said is gone with the process."""

import re
import time
from http.client import HTTPConnection, HTTPException

from tests.support.harness import Worker
from tests.support.patience import patience

from .judge import Evidence

ASK_S = 0.25  # between two looks at one worker
ANSWER_S = 2.0  # a loop that is held up does not hold up whoever looks: the pages have a thread of their own
SERIES = re.compile(r"^mirrorstream_(\w+?)(?:_total)?(\{.*\})? (\S+)$", re.MULTILINE)
IGNORED = ("_bucket", "_created", "position_share")
PORT = re.compile(r"health and metrics on port (\d+)")


class Watched:
    """One worker process and what was seen of it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.evidence = Evidence()
        self.frozen = False  # by a SIGSTOP: it would not answer
        self.ready = (0, "")  # what /readyz said last; (0, "") while it does not listen
        self.latest: dict[str, float] = {}
        self._port = 0
        self._looked_s = 0.0

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self.worker.process.poll() is None

    def look(self, *, now: bool = False) -> None:
        """Note what it says, if the last look was long enough ago."""
        self.evidence.log = self.worker.log
        if self.frozen or not self.alive or (time.monotonic() < self._looked_s + ASK_S and not now):
            return
        status, text = self._page("/readyz")
        self.ready = (status, text)
        if status == 503 and text not in self.evidence.unready:
            self.evidence.unready.append(text)
        for name, labels, value in SERIES.findall(self._page("/metrics")[1]):
            if not name.endswith(IGNORED):
                series = name + labels
                self.latest[series] = float(value)
                self.evidence.most[series] = max(self.evidence.most.get(series, 0.0), float(value))
        self._looked_s = time.monotonic()

    def metric(self, name: str) -> float:
        """Return the sum of a series over its labels, as last seen."""
        return sum(value for series, value in self.latest.items() if series.partition("{")[0] == name)

    def post(self, path: str) -> str:
        """Ask for a change with the headers of the worker's own command and no other; return what it says."""
        return self._page(path, "POST")[1].strip()

    def _page(self, path: str, method: str = "GET") -> tuple[int, str]:
        if not self._port and (found := PORT.search(self.evidence.log)):
            self._port = int(found[1])
        if not self._port:
            return 0, ""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=patience(ANSWER_S))
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()
