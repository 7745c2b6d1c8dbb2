"""What the loop asks: facts by id, from the stores, as `worker.pipeline.ports.Facts`.

Items that many events name are held ready to use, up to a bound; whatever the topic says anew empties that.
"""

from collections.abc import Mapping, Sequence

from worker.core.joining.facts import FactKind, FactVersion, ItemFacts, UserFacts, Versions, items_facts, user_facts
from worker.runtime.joining.store import FactStore

BYTES_A_CHAR, BYTES_A_VERSION = 2, 600  # of facts that are ready to use; 302 characters took 0.9 KB, CPython 3.11


class KnownFacts:
    """The facts of one or two stores; `ready_bytes` bounds what is held of items in memory beside them."""

    def __init__(self, stores: Sequence[FactStore], *, ready_bytes: int = 0) -> None:
        self._stores = {store.kind: store for store in stores}
        self.kinds = frozenset(self._stores)
        self._max_ready_bytes, self._ready_bytes, self._ready_as_of = ready_bytes, 0, -1
        self._ready: dict[str, Versions[ItemFacts]] = {}

    @property
    def held_up(self) -> str:
        """Why not all that is known can be found now, "" if it can."""
        anew = [kind for kind, store in self._stores.items() if not store.is_whole]
        return f"{' and '.join(anew)} are being read; events that need them wait" if anew else ""

    @property
    def num_changes(self) -> int:
        """How often something was added."""
        return sum(store.num_changes for store in self._stores.values())

    def items(self, ids: Sequence[str]) -> Mapping[str, Versions[ItemFacts]]:
        """Return the versions of those items that are known.  Raises `Fatal`."""
        store = self._stores[FactKind.ITEMS]
        if self._ready_as_of != (num_changes := store.num_changes):  # read before the rows: a change is never missed
            self._ready, self._ready_bytes, self._ready_as_of = {}, 0, num_changes
        ready = self._ready
        found = {one: ready[one] for one in ids if one in ready}
        if len(found) < len(ids):
            found |= self._read(store, [one for one in ids if one not in found] if found else ids)
        return found

    def user(self, user_id: str) -> Versions[UserFacts]:
        """Return the versions of a user.  Raises `Fatal`."""
        rows = self._stores[FactKind.USERS].versions([user_id])
        return [FactVersion(since, user_facts(body)) for _, since, body in rows]

    def _read(self, store: FactStore, ids: Sequence[str]) -> Mapping[str, Versions[ItemFacts]]:
        """Return the versions of items from the store, and hold them ready; when that is full it is emptied."""
        found: dict[str, list[FactVersion[ItemFacts]]] = {}
        rows = store.versions(ids)
        for (name, since, _), facts in zip(rows, items_facts([body for _, _, body in rows]), strict=True):
            found.setdefault(name, []).append(FactVersion(since, facts))
        if self._max_ready_bytes:
            self._ready |= found
            self._ready_bytes += sum(BYTES_A_CHAR * len(body) + BYTES_A_VERSION for _, _, body in rows)
            if self._ready_bytes > self._max_ready_bytes:
                self._ready, self._ready_bytes = {}, 0
        return found
