"""Which attributes of an item go along with the answer, so that a slate can be judged by what is in it.

    genres: Drama|Crime, year: 1994, publisher: X   ->   category: Drama|Crime, provider: X

Four of them, each under one name, whatever the sender calls it; the rest stays in the impression.  They are texts as
they came, cut at `MAX_CHARS`, a JSON array as its parts between "|": who reads an answer decides what is a number.

>>> carried({"genres": "Drama|Crime", "year": "1994", "publisher": "X"})
{'category': 'Drama|Crime', 'provider': 'X'}
"""

from collections.abc import Mapping

from worker.core.attribute_lists import joined

CARRIED: Mapping[str, tuple[str, ...]] = {  # name in the answer: the sender's names, the first one there counts
    "category": ("category", "genres", "genre"),
    "provider": ("provider", "publisher", "brand", "seller"),
    "popularity": ("popularity",),
    "price": ("price",),
}
MAX_CHARS = 200  # of each; the genres of a film take about 40


def carried(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that go along, by the name that the answer has for them; empty ones are left out."""
    found: dict[str, str] = {}
    if not attributes:
        return found
    for name, senders in CARRIED.items():
        for sender in senders:
            if text := joined(attributes.get(sender, "").strip()):
                found[name] = text[:MAX_CHARS]
                break
    return found
