"""The last remarkable things that a worker logged, for its page: changes of state, and what went wrong.

Lines of one kind stand together with their number, so that many dead letters do not push out everything else.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from worker.core.errors import masked

MOST = 10
MAX_CHARS = 300


@dataclass(frozen=True, slots=True)
class Remark:
    """The last line of a kind: when (seconds since 1970), how bad, what, and how many there were."""

    at_s: float
    level: str
    text: str
    number: int


class Remarkable(logging.Handler):
    """Keeps the newest kinds of lines, at most `MOST`; lines are of one kind if their texts before formatting are.

    `clean` removes from each what nobody shall read.
    """

    def __init__(self, clean: Callable[[str], str] = masked) -> None:
        super().__init__(logging.INFO)
        self._clean = clean
        self._kept = OrderedDict[tuple[str, str], Remark]()
        self._keeping = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        try:
            text = self._clean(record.getMessage()).partition("\n")[0][:MAX_CHARS]
        except Exception:  # noqa: BLE001 - as handlers do: whoever logs must not fail of it
            self.handleError(record)
            return
        kind = record.name, str(record.msg)
        with self._keeping:
            before = self._kept.pop(kind, None)
            number = before.number + 1 if before else 1
            self._kept[kind] = Remark(record.created, record.levelname.lower(), text, number)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def newest(self) -> list[Remark]:
        """Return them, the newest first."""
        with self._keeping:
            return list(reversed(self._kept.values()))
