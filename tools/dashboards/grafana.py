"""Rows of panels as the JSON that Grafana reads (schema version 39, Grafana 10 and later)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 24  # columns of a dashboard
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `queries` are PromQL with their legends, and `unit` is Grafana's name of a unit.

    One of `bad_above` is a stat that turns red above that value.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    about: str = ""
    bad_above: float | None = None
    columns: int = 8


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows by title, and the query whose label `job` chooses what is shown."""

    uid: str
    title: str
    chosen_by: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def text_of(dashboard: Dashboard) -> str:
    """Return the JSON of a dashboard."""
    found = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["mirrorstream"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), _job(dashboard.chosen_by)]},
        "panels": list(_panels(dashboard)),
    }
    return json.dumps(found, indent=1) + "\n"


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in dashboard.rows:
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top},
        }  # fmt: skip
        top, left, height = top + 1, 0, 0
        for panel in panels:
            if left + panel.columns > WIDTH:
                top, left = top + height, 0
            number += 1
            height = GRAPH_HEIGHT if panel.bad_above is None else STAT_HEIGHT
            place = {"h": height, "w": panel.columns, "x": left, "y": top}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            left += panel.columns
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend, "exemplar": True}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.bad_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.bad_above}]
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    stat = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"}
    return {
        "type": "timeseries" if panel.bad_above is None else "stat",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options if panel.bad_above is None else stat,
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _job(chosen_by: str) -> dict[str, Any]:
    query = f"label_values({chosen_by}, job)"
    return {
        "name": "job", "type": "query", "label": "Job", "datasource": SOURCE, "refresh": 2,
        "query": {"query": query, "refId": "job"}, "includeAll": True, "multi": True, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip
