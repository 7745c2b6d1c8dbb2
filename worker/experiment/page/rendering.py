"""The templates, as both the page and the file fill them.

at      before every id of a view, so that several views fit into one document; "" on the page
named, named_by    after every name of a landmark, for the same reason: words, or the id of words
home    where all experiments are listed
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.experiment import wording
from worker.experiment.page import text, views

HERE = Path(__file__).parent
_WORDING = (wording.agreement, wording.label, wording.no_skill, wording.skills, wording.tie)


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
    found.filters |= text.FILTERS | {"about": views.about}
    found.filters |= {one.__name__: one for one in _WORDING}
    found.globals |= {
        "say": wording.figure,
        "at": "",
        "named": "",
        "named_by": "",
        "home": "/",
    }
    return found
