"""In which format somebody wants metrics: one of few, whatever an `Accept` header says.

A header is foreign text.  The library that writes the metrics fails on a version that is none, and repeats any other.
"""

from typing import NewType

MetricFormat = NewType("MetricFormat", str)  # a header that asks for one format; of all headers, one that was looked at

OPENMETRICS, PLAIN = "application/openmetrics-text", "text/plain"
NEW = "1.0.0"  # of both
OLD = MetricFormat("")  # the plain text of old
ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")


def metric_format(accept: str) -> MetricFormat:
    """Return the header that asks for the first format of `accept` that there is, else `OLD`.

    >>> metric_format("application/openmetrics-text;version=9.1, application/openmetrics-text; version=1.0.0;q=0.5")
    'application/openmetrics-text;version=1.0.0;escaping=underscores'
    >>> metric_format("text/html,application/openmetrics-text;version=abc,*/*")
    ''
    """
    for one in accept.split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        said = dict(parameter.partition("=")[::2] for parameter in reversed(parameters))
        version = said.get("version", "")
        if kind == OPENMETRICS and not version:
            return MetricFormat(OPENMETRICS)
        if kind in (OPENMETRICS, PLAIN) and version == NEW:
            escaping = said.get("escaping", "")
            known = escaping if escaping in ESCAPINGS else "underscores"
            return MetricFormat(f"{kind};version={NEW};escaping={known}")
    return OLD
