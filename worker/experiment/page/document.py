"""The same views in one HTML file that needs no server: for a ticket, a mail, a wiki.

Every epoch and candidate of every experiment is in it, one below the other; links lead from one to the next.  Styles
and scripts stand in the file, and its own policy lets a browser run these and nothing else.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from markupsafe import Markup

import worker
from worker.experiment.page import views
from worker.experiment.page.addresses import epoch_key
from worker.experiment.page.rendering import HERE, environment
from worker.experiment.readout import Readout, Report

STYLES = ("uPlot.min.css", "page.css")
FIRST = ("theme.js",)  # before anything is painted
SCRIPTS = ("uPlot.iife.min.js", "chart.js", "tables.js")


@dataclass(frozen=True, slots=True)
class Section:
    """One epoch and candidate; `at` stands before its ids."""

    at: str
    page: views.Page

    @property
    def name(self) -> str:
        """Return words that no other section of the file has."""
        page, epochs = self.page, self.page.readout.epochs
        words = [page.readout.experiment_id or "no experiment id"]
        words += [f"epoch {epochs.index(page.epoch) + 1} of {len(epochs)}"] if page.epoch and len(epochs) > 1 else []
        return ", ".join(words + ([page.compared.comparison.candidate] if page.compared else []))


def render(report: Report, *, written_at: int) -> str:
    """Return the file's text; `written_at` is in µs since 1970-01-01 UTC.  The same report gives the same text."""
    anchors = _Anchors(report.readouts)
    styles, first, scripts = ([asset(name) for name in names] for names in (STYLES, FIRST, SCRIPTS))
    return environment().get_template("document.html").render(
        report=report,
        entries=views.index(report.readouts, address=anchors.address),
        sections=[section for readout in report.readouts for section in _sections(readout, anchors)],
        policy=policy(styles, first + scripts),
        styles=styles, first=first, scripts=scripts,
        release=worker.__version__, written_at=written_at, home="#main",
    )  # fmt: skip


class _Anchors:
    """Which section an address leads to; a missing epoch is the newest, a missing candidate the first."""

    def __init__(self, readouts: tuple[Readout, ...]) -> None:
        self._experiments = {one.experiment_id: (number, one) for number, one in enumerate(readouts, 1)}

    def at(self, experiment_id: str | None, *, epoch: str | None = None, candidate: str | None = None) -> str:
        number, readout = self._experiments[experiment_id]
        keys = [epoch_key(one) for one in readout.epochs]
        which = keys.index(epoch) if epoch is not None else len(keys) - 1
        names = [one.candidate for one in readout.epochs[which].comparisons] if keys else []
        return f"x{number}-{which + 1}-{names.index(candidate) + 1 if candidate is not None else 1}-"

    def address(self, experiment_id: str | None, *, epoch: str | None = None, candidate: str | None = None) -> str:
        return f"#{self.at(experiment_id, epoch=epoch, candidate=candidate)}view"


def _sections(readout: Readout, anchors: _Anchors) -> list[Section]:
    """Return the views of an experiment, the newest epoch first."""
    chosen: list[tuple[str | None, str | None]] = [
        (epoch_key(epoch), one.candidate if one else None)
        for epoch in reversed(readout.epochs)
        for one in (epoch.comparisons or (None,))
    ]
    return [
        Section(anchors.at(readout.experiment_id, epoch=epoch, candidate=candidate), page)
        for epoch, candidate in chosen or [(None, None)]
        if (page := views.page(readout, epoch=epoch, candidate=candidate, address=anchors.address))
    ]


def asset(name: str) -> Markup:
    """Return a file of ours as it stands; it is not escaped, so nothing from outside may come this way."""
    text = (HERE / "static" / name).read_text(encoding="utf-8")
    assert "</s" not in text, name  # would end its own element
    return Markup(text)  # noqa: S704 - our own static files alone


def policy(styles: list[Markup], scripts: list[Markup]) -> str:
    """Return a content security policy that admits these very texts and no other.

    Source: https://www.w3.org/TR/CSP3/#external-hash
    """
    return "; ".join(
        ("default-src 'none'", f"style-src {_digests(styles)}", f"script-src {_digests(scripts)}", "base-uri 'none'",
         "form-action 'none'")
    )  # fmt: skip


def _digests(texts: list[Markup]) -> str:
    return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)
