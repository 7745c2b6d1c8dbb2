"""The templates, as both the page and the file fill them.

at      before every id of a view, so that several views fit into one document; "" on the page
named, named_by    after every name of a landmark, for the same reason: words, or the id of words
home    where all experiments are listed
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.experiment.page import text, views
from worker.experiment.statistics import confidence as stats

HERE = Path(__file__).parent


@cache
def environment() -> Environment:
    """Return the templates: everything is escaped, and a name that is not there is an error."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= text.FILTERS | {"skill": views.skill, "about": views.about}
    found.globals |= {
        "BASIS": stats.BASIS,
        "at": "",
        "named": "",
        "named_by": "",
        "home": "/",
    }
    return found
