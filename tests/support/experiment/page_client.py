"""One page over HTTP for all tests: making an application anew takes longer than a test."""

from html.parser import HTMLParser

from starlette.testclient import TestClient

from tests.support.experiment import page_examples as made
from worker.experiment.page.app import create_app
from worker.experiment.readout import Readout

BASE = "http://localhost"
SOURCE = made.Changing(made.report())
APP = create_app(SOURCE)


def client(*readouts: Readout) -> TestClient:
    """Open the page of a report."""
    SOURCE.change(made.report(*readouts))
    return TestClient(APP, base_url=BASE)


def guarded(token: str = "secret-1") -> TestClient:  # noqa: S107 - it guards nothing
    """Open a page that wants a token."""
    return TestClient(create_app(SOURCE, token=token), base_url=BASE)


class Elements(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"a", "b", "bdi", "i", "span", "time"}:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())
