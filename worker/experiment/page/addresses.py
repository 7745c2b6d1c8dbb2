"""Where an experiment lives on the page; its id is foreign text, and may hold slashes, quotes, or be missing.

A plain id stands in the address as it is.  Any other is `~` and its bytes in URL-safe base64, and no id at all is `~`
alone, so that no browser or proxy takes it for a path, a query or "..":

>>> key("home-ranker-7"), key("../etc"), key(None)
('home-ranker-7', '~Li4vZXRj', '~')
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from urllib.parse import urlencode

from worker.experiment.readout import Epoch, Readout

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)  # what no one on the way re-writes; never ".."


def key(experiment_id: str | None) -> str:
    """Name an experiment in an address; two ids never share a key."""
    if experiment_id is not None and _PLAIN.fullmatch(experiment_id):
        return experiment_id
    return "~" + urlsafe_b64encode((experiment_id or "").encode(errors="surrogatepass")).decode().rstrip("=")


def find(readouts: Iterable[Readout], text: str) -> Readout | None:
    """Return the experiment with this key, else with this very id."""
    readouts = list(readouts)
    by_key = [readout for readout in readouts if key(readout.experiment_id) == text]
    return next(iter(by_key + [readout for readout in readouts if readout.experiment_id == text]), None)


def epoch_key(epoch: Epoch) -> str:
    """Name an epoch among those of its experiment."""
    return f"{epoch.config_fingerprint}.{epoch.definition_key}"


def page_of(experiment_id: str | None, **chosen: str | None) -> str:
    """Return the path of an experiment's page, with an epoch or a candidate where one was chosen.

    >>> page_of("a", candidate="b&c", epoch=None)
    '/experiments/a?candidate=b%26c'
    """
    query = urlencode({name: value for name, value in chosen.items() if value is not None}, errors="surrogatepass")
    return f"/experiments/{key(experiment_id)}" + (f"?{query}" if query else "")
