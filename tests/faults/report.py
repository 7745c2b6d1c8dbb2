"""What a run of kills comes to: the figures, by fault point and in all, and which rules they break."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from worker.core.errors import Fenced

from .fault import POINTS, WHENS
from .runner import Kill, Run
from .tally import Place

ALL_POINTS = [f"{when} {point}" for point in POINTS for when in WHENS]
MIN_PER_POINT = 3  # of the kills with something unfinished
EXPECTED_EXITS = {Fenced.exit_code}  # without an order: a static member's old self, or a transaction timed out
MIN_KILLS_FOR_ALL_POINTS = MIN_PER_POINT * len(ALL_POINTS)

MEANINGS = """\
events                 impressions that were sent; at a fault point: those that the workers killed there had taken on
                       and the engine had not answered, once for each kill that found them so
seconds                of the whole run; at a fault point: the sum of its kills' times of recovery
lost                   questions without a committed response; at a fault point: those whose partition was hit there
                       by the first kill after the impression was sent
duplicated             questions with more than one; at a fault point: those whose partition was hit there by the last
                       kill before the last response was made
aborted_records_seen   output records that a read_uncommitted consumer sees and a read_committed one does not; at a
                       fault point: those whose partition was hit there by the first kill after they were made
reprocessed_records    records that workers took on, beyond the number of events; at a fault point: those that the
                       killed workers held and the broker had not committed
kills                  workers that died at their fault point
kills_with_inflight    of these, how many held events that the engine had not answered yet
kills_with_open_txn    of these, how many died between the begin and the end of a transaction
recovery_s             p50 and max, from a kill until each of the victim's partitions has a committed response that was
                       made after it, as a reader sees it; further kills meanwhile included
other_exits            workers that ended otherwise, by exit code (4, fenced, is no fault); what these took on is not
                       counted
"""


@dataclass(frozen=True, slots=True)
class Report:
    """All figures; `runs` is one for each group protocol."""

    seed: int
    kills: int
    events: int
    seconds: float
    runs: Sequence[Run]

    def problems(self) -> list[str]:
        """Say which rules are broken; none means that the guarantee has held, and was put to the test."""
        found = self.figures()
        exits = {code: count for code, count in found["other_exits"].items() if code not in EXPECTED_EXITS}
        rules = {
            f"{found['lost']} lost, want 0": found["lost"] == 0,
            f"{found['duplicated']} duplicated, want 0": found["duplicated"] == 0,
            f"{found['unasked']} answers to no question, want 0": found["unasked"] == 0,
            "committed offsets are not the ends of the input": found["all_committed"],
            "a last stable offset is below its high watermark": found["all_stable"],
            f"{found['events']} events, want {self.events}": found["events"] >= self.events,
            f"{found['kills_with_inflight']} kills found events unfinished, want {self.kills}": (
                found["kills_with_inflight"] >= self.kills
            ),
            f"workers ended without an order, by exit code: {exits}": not exits,
            f"a fault point was hit fewer than {MIN_PER_POINT} times with events unfinished": (
                self.kills < MIN_KILLS_FOR_ALL_POINTS
                or all(row["kills_with_inflight"] >= MIN_PER_POINT for row in found["points"].values())
            ),
        }
        return [problem for problem, holds in rules.items() if not holds]

    def figures(self) -> dict[str, Any]:
        """Return all figures as JSON has them."""
        tallies = [run.tally for run in self.runs]
        kills = [kill for run in self.runs for kill in run.kills]
        events = sum(one.events for one in tallies)
        taken_on = sum(run.taken_on for run in self.runs)
        return {
            "seed": self.seed,
            "protocols": [run.protocol for run in self.runs],
            "events": events,
            "unasked": sum(one.unasked for one in tallies),
            "all_committed": all(one.all_committed for one in tallies),
            "all_stable": all(one.all_stable for one in tallies),
            "other_exits": dict(sum((run.other_exits for run in self.runs), Counter[int]())),
            "seconds": round(self.seconds, 1),
            **_row(
                kills,
                lost=sum(len(one.lost) for one in tallies),
                duplicated=sum(len(one.duplicated) for one in tallies),
                aborted=sum(len(one.aborted) for one in tallies),
                reprocessed=taken_on - events,
            ),
            "points": {point: self._point(point) for point in ALL_POINTS},
        }

    def _point(self, point: str) -> dict[str, Any]:
        kills = [kill for run in self.runs for kill in run.kills if point_of(kill) == point]
        return {
            "events": sum(kill.mark.unfinished for kill in kills),
            "seconds": round(sum(kill.recovery_s or 0 for kill in kills), 1),
            **_row(
                kills,
                lost=sum(_hits(run, run.tally.lost, _next)[point] for run in self.runs),
                duplicated=sum(_hits(run, run.tally.duplicated, _last)[point] for run in self.runs),
                aborted=sum(_hits(run, run.tally.aborted, _next)[point] for run in self.runs),
                reprocessed=sum(kill.mark.uncommitted for kill in kills),
            ),
        }

    def table(self) -> str:
        """Return the figures for people."""
        found = self.figures()
        points = found.pop("points")
        lines = [f"{name:22} {_text(value)}" for name, value in found.items()]
        names = list(next(iter(points.values())))
        widths = [max(len(name), 12) for name in names]
        lines += ["", f"{'':20}" + "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))]
        for point, row in points.items():
            cells = (f"{_text(row[name]):>{width}}" for name, width in zip(names, widths, strict=True))
            lines.append(f"{point:20}" + "  ".join(cells))
        return "\n".join(lines)


def point_of(kill: Kill) -> str:
    return f"{kill.mark.when} {kill.mark.point}"


def _row(kills: Sequence[Kill], *, lost: int, duplicated: int, aborted: int, reprocessed: int) -> dict[str, Any]:
    waits = [kill.recovery_s for kill in kills if kill.recovery_s is not None]
    return {
        "lost": lost,
        "duplicated": duplicated,
        "aborted_records_seen": aborted,
        "reprocessed_records": reprocessed,
        "kills": len(kills),
        "kills_with_inflight": sum(kill.mark.unfinished > 0 for kill in kills),
        "kills_with_open_txn": sum(kill.mark.open_transaction for kill in kills),
        "recovery_s": {"p50": round(median(waits), 2), "max": round(max(waits), 2)} if waits else None,
    }


def _hits(run: Run, places: Iterable[Place], pick: Callable[[list[Kill], Place], Kill | None]) -> Counter[str]:
    """Count, by fault point, the kills that hit these places."""
    by_partition: dict[int, list[Kill]] = defaultdict(list)
    for kill in sorted(run.kills, key=lambda kill: kill.mark.time_s):
        for partition in kill.mark.partitions:
            by_partition[partition].append(kill)
    picked = (pick(by_partition[place.partition], place) for place in places)
    return Counter(point_of(kill) for kill in picked if kill is not None)


def _next(kills: list[Kill], place: Place) -> Kill | None:
    return next((kill for kill in kills if kill.mark.time_s >= place.created_s), None)


def _last(kills: list[Kill], place: Place) -> Kill | None:
    return next((kill for kill in reversed(kills) if kill.mark.time_s <= place.created_s), None)


def _text(value: object) -> str:
    if isinstance(value, dict) and value.keys() == {"p50", "max"}:
        return f"{value['p50']} / {value['max']}"
    return "-" if value in (None, {}) else str(value)
