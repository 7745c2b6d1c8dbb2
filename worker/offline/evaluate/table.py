"""The answers of one engine as columns for numpy, one row per choice, in the file's order.

About 1.1 KB per choice of five options, the figures' own arrays included (100,000 choices, CPython 3.11, 2026-11).
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from worker.core.flags import Flag
from worker.core.simulation.questions import Status
from worker.core.simulation.uncertainty import summarise
from worker.experiment.real_clicks.shown_slates import Columns, Flags, Floats, Ints
from worker.offline.evaluate.answers import Answered
from worker.offline.evaluate.reference_accuracy import Sampler

HISTORY = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 20), (21, None))  # groups of history lengths, entries
NO_CHOICE_LEFT = "BELOW_DEPTH"  # what was chosen was merged away, or stands below the depth


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """All answers; `slates` has a uniform row where there is none, which `answered` tells."""

    slates: Columns
    answered: Flags  # has probabilities of the engine's own
    counts: Flags  # in the reference's accuracy: answered, or a prompt that is too long
    sampled: Floats  # hits of sampled letters, mean over draws
    entropy_total: Floats  # bits
    entropy_within: Floats
    mutual_information: Floats  # NaN under two draws
    letter_mass: Floats  # NaN where the engine tells none
    domain: np.ndarray[tuple[int], np.dtype[np.str_]]
    history: Ints  # entries in the file
    options: Ints
    chosen: Ints  # position of the first chosen option
    line: Ints  # in the file of choices
    statuses: dict[str, int]

    @property
    def size(self) -> int:
        """How many choices."""
        return int(self.slates.user.size)

    def some(self, which: Flags) -> "AnswerTable":
        """Return some of the rows, with the same codes."""
        columns = {
            one.name: getattr(self, one.name)[which] for one in fields(self) if one.name not in {"slates", "statuses"}
        }
        return AnswerTable(slates=self.slates.rows(which), statuses=self.statuses, **columns)


class _Codes(dict[str, int]):
    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class _GrowingTable:
    """Grows by one answer at a time, in arrays: objects per choice would take ten times the memory."""

    def __init__(self) -> None:
        self.users, self.names, self.domains = _Codes(), _Codes(), _Codes()
        self.ints = {name: array("q") for name in ("user", "at", "domain", "history", "options", "chosen", "line")}
        self.floats = {name: array("d") for name in ("sampled", "total", "within", "mutual", "mass")}
        self.flags = {name: array("b") for name in ("answered", "counts")}
        self.p, self.weight, self.position, self.item = array("d"), array("d"), array("q"), array("q")
        self.statuses: dict[str, int] = {}
        self._sampler = Sampler()

    def add(self, one: Answered) -> None:
        status, size = self._status(one), len(one.items)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if not one.chosen:
            return
        even = (1 / size,) * size
        too_long = status in {Status.OUT_OF_BUDGET, Flag.UNIFORM.upper()}
        draws = (even,) * one.num_draws if too_long or not one.draws else one.draws
        answer = summarise(draws, at=0.0)
        mutual = answer.mutual_information
        counts = too_long or status == Status.OK
        for name, whole in (("user", self.users[one.user]), ("at", one.at), ("domain", self.domains[one.domain]),
                            ("history", one.history), ("options", size),
                            ("chosen", one.positions[one.chosen[0]]), ("line", one.line)):  # fmt: skip
            self.ints[name].append(whole)
        for name, value in (("sampled", self._sampler.hit(draws, one.chosen) if counts else 0.0),
                            ("total", answer.entropy_total), ("within", answer.entropy_within),
                            ("mutual", float("nan") if mutual is None else mutual),
                            ("mass", float("nan") if one.letter_mass is None else one.letter_mass)):  # fmt: skip
            self.floats[name].append(value)
        self.flags["answered"].append(status == Status.OK)
        self.flags["counts"].append(counts)
        self.p.extend(answer.probabilities)
        self.weight.extend((place in one.chosen) / len(one.chosen) for place in range(size))
        self.position.extend(one.positions)
        self.item.extend(self.names[item] for item in one.items)

    @staticmethod
    def _status(one: Answered) -> str:
        if not one.chosen:
            return NO_CHOICE_LEFT
        return Flag.UNIFORM.upper() if Flag.UNIFORM in one.flags else one.status


def table(answers: Iterable[Answered]) -> AnswerTable:
    """Return the answers as columns."""
    rows = _GrowingTable()
    for one in answers:
        rows.add(one)
    ints = {name: np.array(found, np.int64) for name, found in rows.ints.items()}
    floats = {name: np.array(found, np.float64) for name, found in rows.floats.items()}
    offered = np.arange(int(ints["options"].max(initial=1))) < ints["options"][:, None]

    def padded(flat: Floats | Ints, fill: float) -> Floats:
        found = np.full(offered.shape, fill)
        found[offered] = flat
        return found

    names = np.array(list(rows.domains) or [""], np.str_)
    size = ints["user"].size
    slates = Columns(
        user=ints["user"],
        occurred_at=ints["at"],
        segment=np.full(size, ""),
        probability=padded(np.array(rows.p), 0.0),
        position=padded(np.array(rows.position), 0).astype(np.int64),
        item=padded(np.array(rows.item), -1).astype(np.int64),
        offered=offered,
        weight=padded(np.array(rows.weight), 0.0),
        mass=np.ones(size),
    )
    return AnswerTable(
        slates=slates,
        answered=np.array(rows.flags["answered"], np.bool_),
        counts=np.array(rows.flags["counts"], np.bool_),
        sampled=floats["sampled"],
        entropy_total=floats["total"],
        entropy_within=floats["within"],
        mutual_information=floats["mutual"],
        letter_mass=floats["mass"],
        domain=names[ints["domain"]] if size else names[:0],
        history=ints["history"],
        options=ints["options"],
        chosen=ints["chosen"],
        line=ints["line"],
        statuses=dict(sorted(rows.statuses.items())),
    )


def paired(one: AnswerTable, other: AnswerTable) -> tuple[AnswerTable, AnswerTable]:
    """Return the choices that both have answered and of which both were offered the same options, row by row."""
    one, other = one.some(one.answered), other.some(other.answered)
    _, mine, theirs = np.intersect1d(one.line, other.line, assume_unique=True, return_indices=True)
    same = one.options[mine] == other.options[theirs]
    mine, theirs = np.sort(mine[same]), np.sort(theirs[same])

    def at(places: Ints, size: int) -> Flags:
        which = np.zeros(size, np.bool_)
        which[places] = True
        return which

    return one.some(at(mine, one.size)), other.some(at(theirs, other.size))


def history_group(low: int, high: int | None) -> str:
    """Return the name of a group of history lengths.

    >>> history_group(3, 5), history_group(0, 0), history_group(21, None)
    ('3 to 5', '0', '21 or more')
    """
    return f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
