"""The values that fill a layout's places: attributes of an event, each cleaned as its place shows it.

A list's parts are cleaned one by one, so that a part keeps its commas; a text of several lines keeps its lines.
What the event does not have has no value: the layout says what stands there instead.
"""

from collections.abc import Mapping

from worker.core.attribute_lists import from_json, joined, parts
from worker.core.attribute_maps import nulls
from worker.core.prompts.sanitise import Fence
from worker.core.prompts.shop_text import Html
from worker.core.prompts.template import Value, forms, is_list, is_long, is_number, names
from worker.core.records import MAX_TEXT
from worker.core.steps import Steps, is_long as takes_long

MAX_NAME_CHARS = 60  # of an attribute's name
# Places that are filled from what the user did, and from elsewhere than attributes.
_OF_ENTRY = frozenset({"rating", "action", "summary", "review", "rating_if_read", "review_if_read"})
CURRENCY, DOLLARS = "currency", "USD"  # the attribute beside a price, and what the layouts' prices are in
OURS = _OF_ENTRY | {"lines", "new_release", "item", "time_diff"}


def values(
    attributes: Mapping[str, str], template: str, fence: Fence, max_chars: int, html: Html, *, of_entry: bool = False
) -> Steps[dict[str, Value]]:
    """Return the values of a template's places, in steps: of attributes, or (`of_entry`) of what the user did."""
    shown = names(template)
    wanted = shown & _OF_ENTRY if of_entry else shown - OURS
    found: dict[str, Value] = {}
    for name in sorted(wanted):
        source = _source(name, shown)
        if source in attributes:
            if takes_long(attributes[source]):
                yield None
            form = forms(template)[name]
            value = attributes[source]
            if form == "dollars" and not of_entry:
                value = f"${value}" if html.is_literal else _price(value, attributes.get(CURRENCY, ""))
            found[name] = _cleaned(value, form, fence, max_chars, name=name, html=html)
    if "lines" in shown and not of_entry:
        found["lines"] = yield from _lines(attributes, max_chars, fence, html)
    return found


def shows_any(template: str, attributes: Mapping[str, str]) -> bool:
    """Return True if a template shows any of the attributes; the mark of a new release shows the year.

    Where all values are null, their names count: the layout has a line for what is not available.
    """
    shown, named = names(template), attributes.keys() or nulls(attributes)
    return bool((shown - OURS) & named) or ("new_release" in shown and "year" in named)


def also_shown(template: str) -> frozenset[str]:
    """Return the attributes that a template shows without a place of their name."""
    found = {"year"} if "new_release" in names(template) else set()
    return frozenset(found | ({CURRENCY} if "dollars" in forms(template).values() else set()))


def _price(price: str, currency: str) -> str:
    """Return a price with its currency; dollars are the layout's own.

    >>> _price("4990", "JPY"), _price("9.99", "usd"), _price("$1,299.00", "EUR")
    ('4990 JPY', '9.99', '$1,299.00')
    """
    if not currency.strip() or currency.strip().upper() == DOLLARS or not is_number(price):
        return price
    return f"{price.strip()} {currency.strip()}"


def _source(name: str, shown: frozenset[str]) -> str:
    """Return the name of what fills a place: a review stands whole, or without its first line where that sums it up."""
    if name != "review":
        return name
    return "review_rest" if "summary" in shown else "review_whole"


def _cleaned(value: str, form: str, fence: Fence, max_chars: int, *, name: str, html: Html) -> Value:
    if is_long(form):
        return fence.clean_text(fence.read_html(html, value, name), MAX_TEXT)
    listed = None
    if is_list(form):  # what "|" joins is joined already, and a text that is taken literally is no list
        listed = from_json(value) if form == "|" or html.is_literal else parts(value)
    if listed is None:
        return fence.clean(fence.read_html(html, value, name), max_chars)
    found: list[str] = []
    room = max_chars
    for part in listed:
        found.append(fence.clean(fence.read_html(html, part, name), max(room, 1)))
        room -= len(found[-1])
        if room < 0:
            break
    return tuple(found)


def _lines(attributes: Mapping[str, str], max_chars: int, fence: Fence, html: Html) -> Steps[str]:
    """Write a line per attribute, cleaned with its name, which could make a label; a value begins a line, too."""
    lines = []
    for name, value in attributes.items():
        if value:
            if takes_long(name) or takes_long(value):
                yield None
            text = fence.read_html(html, joined(value, ", "))
            line = fence.clean(f"{fence.first(name, MAX_NAME_CHARS)}: {text}", max_chars)
            start, colon, rest = line.partition(": ")
            lines.append(start + colon + fence.settle(rest))
    return "\n".join(line for line in lines if line.strip())
