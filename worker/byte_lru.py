"""A cache that is bounded in bytes: the entries used least recently leave first.

>>> cache = ByteLru[str, str](max_bytes=10)
>>> cache.put("a", "first", num_bytes=4); cache.put("b", "second", num_bytes=4)
>>> cache.get("a")                                      # now "b" is the older one
'first'
>>> cache.put("c", "third", num_bytes=4); cache.get("b"), cache.get("a"), cache.num_bytes
(None, 'first', 8)
>>> cache.put("d", "larger than all", num_bytes=11); cache.get("d"), len(cache)
(None, 2)
"""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """Values by key, with the bytes that each is said to take."""

    def __init__(self, max_bytes: int) -> None:
        """Start empty; together the entries never take more than `max_bytes`."""
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._entries: dict[K, tuple[V, int]] = {}  # least recently used first

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return a value and mark it as used; None if it is not here."""
        if (entry := self._entries.pop(key, None)) is None:
            return None
        self._entries[key] = entry
        return entry[0]

    def put(self, key: K, value: V, *, num_bytes: int) -> None:
        """Keep a value; older ones make room, and one larger than the whole cache is not kept."""
        self.remove(key)
        if num_bytes > self._max_bytes:
            return
        self._entries[key] = (value, num_bytes)
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_bytes:
            self.remove(next(iter(self._entries)))

    def remove(self, key: K) -> None:
        """Forget a value."""
        if (entry := self._entries.pop(key, None)) is not None:
            self.num_bytes -= entry[1]
