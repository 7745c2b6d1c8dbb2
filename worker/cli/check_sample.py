"""What a file of impressions says about the events before a worker reads them: `check --sample FILE`."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from worker.cli.replay_sources import EventFile
from worker.core.codec.mapping import EventMapping
from worker.core.prompts.prompt import Profile
from worker.core.prompts.unshown import looks_like_id, told, unshown
from worker.core.records import Impression

MAX_IMPRESSIONS = 1_000
LEAST_SHARE = 0.8  # of a field's texts that look like ids
TITLES = frozenset({"text", "title", "name"})  # of which bare numbers are ids; of others they are counts and prices


def look(
    path: Path,
    profile: Profile,
    mapping: EventMapping | None = None,
    *,
    items: Path | None = None,
    joined_later: bool = False,
) -> Iterator[tuple[str, str, bool]]:
    """Yield what is to be known of the first impressions: of what, a sentence, and whether it is a warning.

    `items` and `joined_later` say where items that have ids alone get their texts, as for `EventFile`.

    Raises `BadSettings` with the line for one that is refused.
    """
    file = EventFile(path, limit=0, mapping=mapping, items=items, joined_later=joined_later)
    moments = islice(file, MAX_IMPRESSIONS)
    impressions = [impression for impression, _ in moments if impression is not None]
    yield "sample", f"{path}: {len(impressions)} impressions are valid", not impressions
    missing = defaultdict[str, set[str]](set)
    ids, texts = Counter[str](), Counter[str]()
    for impression in impressions:
        for part, names in unshown(profile, impression).items():
            missing[f"{impression.domain} {part}"] |= names
        for name, text in _texts(impression):
            texts[name] += 1
            ids[name] += looks_like_id(text, numbers=name.rpartition(" ")[2] in TITLES)
    for part, names in missing.items():
        yield "sample", f"{part}: the prompt has no place for {told(names)}; see the page Domains", True
    for name, number in ids.items():
        if number >= LEAST_SHARE * texts[name]:
            yield "sample", f"{name}: these texts look like ids: a simulated user cannot judge them", True


def _texts(impression: Impression) -> Iterator[tuple[str, str]]:
    """Yield what the prompt may show of items and history, with where it comes from."""
    for item in (item for slate in impression.slates for item in slate.items):
        yield from _of("items", item.text, item.attributes)
    for past in (entry.item for entry in impression.user.history):
        yield from _of("history", past.text, past.attributes)


def _of(part: str, text: str | None, attributes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if text:
        yield f"{part} text", text
        return
    for name, value in attributes.items():
        if value:
            yield f"{part} {told([name])}", value
