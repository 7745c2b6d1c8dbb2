"""In which format somebody wants metrics: one of few, whatever an `Accept` header says.

A header is foreign text.  The library that writes the metrics fails on a version that is none, and repeats any other.
"""

OPENMETRICS, PLAIN = "application/openmetrics-text", "text/plain"
NEW = "1.0.0"  # of both
ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")


def metric_format(accept: str) -> str:
    """Return the header that asks for the first format of `accept` that there is; "" is the plain text of old.

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
            return OPENMETRICS
        if kind in (OPENMETRICS, PLAIN) and version == NEW:
            escaping = said.get("escaping", "")
            return f"{kind};version={NEW};escaping={escaping if escaping in ESCAPINGS else 'underscores'}"
    return ""
