"""What the loop asks: facts by id, from the stores, as `worker.pipeline.ports.Facts`.

Items that many events name are held ready to use, up to a bound; whatever the topic says anew empties that.  An item is
held from the second time on that it is read: where events name all items evenly, what is held would never be used.
"""

from collections.abc import Callable, Mapping, Sequence

from worker.core.joining.facts import FactKind, FactVersion, ItemFacts, UserFacts, Versions, items_facts, user_facts
from worker.runtime.joining.store import FactStore

BYTES_A_CHAR, BYTES_A_VERSION = 2, 600  # of facts that are ready to use; 302 characters took 0.9 KB, CPython 3.11
READY_BYTES_AN_ID = 1_000  # one id that was read once is remembered for so many: an id takes 150 bytes


class KnownFacts:
    """The facts of one or two stores; `ready_bytes` bounds what is held of items in memory beside them.

    `behind` tells why items that were written last may be missing.
    """

    def __init__(
        self, stores: Sequence[FactStore], *, ready_bytes: int = 0, behind: Callable[[], str] = lambda: ""
    ) -> None:
        self._behind = behind
        self._stores = {store.kind: store for store in stores}
        self.kinds = frozenset(self._stores)
        self._max_ready_bytes, self._ready_bytes, self._ready_as_of = ready_bytes, 0, -1
        self._ready: dict[str, Versions[ItemFacts]] = {}
        self._read_once: set[str] = set()
        self._max_read_once = ready_bytes // READY_BYTES_AN_ID

    @property
    def held_up(self) -> str:
        """Why not all that is known can be found now, "" if it can."""
        anew = [kind for kind, store in self._stores.items() if not store.is_whole]
        return f"{' and '.join(anew)} are being read; events that need them wait" if anew else ""

    @property
    def behind(self) -> str:
        """Why items that were written last may be missing, "" if none is."""
        return self._behind()

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
        """Return the versions of items from the store, and hold ready those that were read before."""
        found: dict[str, list[FactVersion[ItemFacts]]] = {}
        rows = store.versions(ids)
        for (name, since, _), facts in zip(rows, items_facts([body for _, _, body in rows]), strict=True):
            found[name] = [*found[name], FactVersion(since, facts)] if name in found else [FactVersion(since, facts)]
        if self._max_ready_bytes:
            self._hold(found, rows)
        return found

    def _hold(self, found: Mapping[str, Versions[ItemFacts]], rows: Sequence[tuple[str, int, str]]) -> None:
        """Hold ready what was read before, and remember the rest; what is full is emptied."""
        again = self._read_once.intersection(found)
        if again:
            self._ready.update((name, found[name]) for name in again)
            self._ready_bytes += sum(
                BYTES_A_CHAR * len(body) + BYTES_A_VERSION for name, _, body in rows if name in again
            )
            if self._ready_bytes > self._max_ready_bytes:
                self._ready, self._ready_bytes = {}, 0
        self._read_once.update(found)
        if len(self._read_once) > self._max_read_once:
            self._read_once.clear()
