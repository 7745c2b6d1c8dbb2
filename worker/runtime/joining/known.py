"""What the loop asks: facts by id, from the stores, as `worker.pipeline.ports.Facts`."""

from collections.abc import Mapping, Sequence

from worker.core.joining.facts import FactKind, FactVersion, ItemFacts, UserFacts, Versions, items_facts, user_facts
from worker.runtime.joining.store import FactStore


class KnownFacts:
    """The facts of one or two stores."""

    def __init__(self, stores: Sequence[FactStore]) -> None:
        self._stores = {store.kind: store for store in stores}
        self.kinds = frozenset(self._stores)

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
        found: dict[str, list[FactVersion[ItemFacts]]] = {}
        rows = self._stores[FactKind.ITEMS].versions(ids)
        for (name, since, _), facts in zip(rows, items_facts([body for _, _, body in rows]), strict=True):
            found.setdefault(name, []).append(FactVersion(since, facts))
        return found

    def user(self, user_id: str) -> Versions[UserFacts]:
        """Return the versions of a user.  Raises `Fatal`."""
        rows = self._stores[FactKind.USERS].versions([user_id])
        return [FactVersion(since, user_facts(body)) for _, since, body in rows]
