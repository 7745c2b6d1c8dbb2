"""How much memory a decoded record takes with its questions: what the window's budget counts beside the record itself.

Texts count with the size that Python has for them: one emoji makes a text of 16,000 letters 64 KB, and its UTF-8 form,
which validation leaves beside it, comes on top.  The rest are objects, by what each kind was measured to take.
"""

from itertools import chain

from worker.core.attribute_maps import nulls
from worker.core.records import HistoryItem, Impression, Item
from worker.core.simulation.prepare import Prepared

# Bytes per object beside its texts, from above: fitted to 23 shapes of 0.2 KB to 2 MB, in JSON and in Avro, with one
# and four draws (tracemalloc, CPython 3.11, 2026-11-30).
_RECORD, _ITEM, _ENTRY, _ATTRIBUTE, _NULL = 4_096, 320, 420, 56, 72
_QUESTION, _OPTION, _DRAW = 900, 96, 320


def num_bytes(impression: Impression, prepared: tuple[Prepared, ...]) -> int:
    """Return the memory that a decoded record with its questions takes beside the record, bytes, from above."""
    user = impression.user
    items = [item for slate in impression.slates for item in slate.items]
    past = [entry.item for entry in user.history]
    shown_or_past: list[Item | HistoryItem] = [*items, *past]
    maps = [user.profile, user.segments, impression.context, *(one.attributes for one in shown_or_past)]
    options = [option for one in prepared for option in one.question.options]
    shown = {id(option.text): option.text for option in options}  # an item in several questions has one text
    texts = chain(
        (user.profile_text,),
        (one.item_id for one in shown_or_past),
        (one.text for one in shown_or_past),
        chain.from_iterable((entry.action, entry.review) for entry in user.history),
        shown.values(),
        chain.from_iterable(maps),
        chain.from_iterable(one.values() for one in maps),
    )
    num_draws = sum(len(one.asks) for one in prepared)
    objects = _ITEM * len(items) + _ENTRY * len(past) + _QUESTION * len(prepared) + _OPTION * len(options)
    attributes = _ATTRIBUTE * sum(map(len, maps)) + _NULL * sum(len(nulls(one)) for one in maps if not one)
    # In one pass, for an event may have thousands of texts; of an empty one there is one object in the process.
    return _RECORD + objects + _DRAW * num_draws + attributes + sum(map(str.__sizeof__, filter(None, texts)))
