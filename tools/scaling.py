"""A group of workers under KEDA, second by second: what a cold start costs in lag and delay, as a picture and a table.

    python -m tools.scaling [--check]        # writes docs/images/scaling.svg

The autoscaler's behaviour is the chart's own (`keda` in values.yaml); speed and cold starts were measured, or are the
chart's limit.  What Kafka and the broker add, such as a rebalance, is left out: it is seconds.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tools.stale import ROOT, main

PICTURE = ROOT / "docs" / "images" / "scaling.svg"
TOLERANCE = 0.1  # of a HorizontalPodAutoscaler: a smaller difference changes nothing
MORE_AT_ONCE = 4  # its default: at most so many pods more, or twice as many, per look

# docs/benchmarks/results.md: `worker`, vLLM 0.32 with mirror-tiny on two CPU cores, the only rate measured so.
MEASURED_RATE = 9.45
ACCEPTED_DELAY_S = 300.0
# Seconds until the first answer, of the same page (`make demo`), and what the chart's start-up probe allows at most.
COLD_STARTS = {"second start, measured": 37.0, "first start, measured": 55.0, "the start-up probe's limit": 600.0}
BASE, PEAK = 10.0, 30.0  # events/s
PEAK_S, WHOLE_S = range(600, 4_200), 9_000


@dataclass(frozen=True, slots=True)
class Scaler:
    """A ScaledObject's limits; times in seconds, lags in records."""

    lag_threshold: float
    least: int
    most: int
    look_every_s: int
    calm_s: int
    down_every_s: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One second: events waiting, workers that answer, workers that are asked for."""

    lag: float
    ready: int
    wanted: int


def chart_scaler(lag_threshold: float, least: int, most: int) -> Scaler:
    """Return a scaler with the chart's own behaviour."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "helm/mirrorstream/values.yaml").read_text(encoding="utf-8"))
    down = values["keda"]["behavior"]["scaleDown"]
    (policy,) = down["policies"]
    look_s = values["keda"]["pollingInterval"]
    return Scaler(lag_threshold, least, most, look_s, down["stabilizationWindowSeconds"], policy["periodSeconds"])


def simulate(
    arriving: Callable[[int], float], rate: float, cold_start_s: float, scaler: Scaler, seconds: int
) -> list[Moment]:
    """Return each second; `arriving` gives the events/s of a second, and `rate` is of one worker."""
    lag, starts = 0.0, [-math.inf] * scaler.least
    asked: list[int] = []  # what each look would have had, for the calm before a scale-down
    last_down_s = -math.inf
    found = []
    for second in range(seconds):
        ready = sum(start + cold_start_s <= second for start in starts)
        lag = max(0.0, lag + arriving(second) - ready * rate)
        if second % scaler.look_every_s == 0:
            asked.append(_asked(lag, len(starts), scaler))
            if asked[-1] > len(starts):
                starts += [float(second)] * (asked[-1] - len(starts))
            calm = max(asked[-max(1, scaler.calm_s // scaler.look_every_s) :])
            if calm < len(starts) and second - last_down_s >= scaler.down_every_s:
                starts.remove(max(starts))
                last_down_s = second
        found.append(Moment(lag, ready, len(starts)))
    return found


def _asked(lag: float, now: int, scaler: Scaler) -> int:
    """Return the number that an autoscaler sets for a lag, before it waits to scale down."""
    if abs(lag / (now * scaler.lag_threshold) - 1) <= TOLERANCE:
        return now
    wanted = math.ceil(lag / scaler.lag_threshold)
    return max(scaler.least, min(scaler.most, wanted, max(2 * now, now + MORE_AT_ONCE)))


def example(cold_start_s: float) -> list[Moment]:
    """Return the worked example of the page with one cold start."""
    threshold = MEASURED_RATE * ACCEPTED_DELAY_S
    scaler = chart_scaler(threshold, math.ceil(BASE / MEASURED_RATE), 2 * math.ceil(PEAK / MEASURED_RATE))
    return simulate(lambda second: PEAK if second in PEAK_S else BASE, MEASURED_RATE, cold_start_s, scaler, WHOLE_S)


def most_lag(arriving: float, rate: float, cold_start_s: float, scaler: Scaler) -> float:
    """Return a bound of the lag after a step: the lag that asks for enough workers, and what comes while they start."""
    enough = math.ceil(arriving / rate)
    asking = (enough - 1) * scaler.lag_threshold * (1 + TOLERANCE)
    return asking + (arriving - scaler.least * rate) * (scaler.look_every_s + cold_start_s)


def longest_delay_s(moments: Sequence[Moment]) -> float:
    """Return the longest time that an event waits: until as many are answered as stood before it."""
    answered, total = [], 0.0
    for before, now in pairwise(moments):
        total += max(0.0, before.lag - now.lag) if now.ready == 0 else now.ready * MEASURED_RATE
        answered.append(total)
    longest, later = 0, 0
    for second, moment in enumerate(moments[1:]):
        later = max(later, second)
        while later < len(answered) - 1 and answered[later] - answered[second] < moment.lag:
            later += 1
        longest = max(longest, later - second)
    return float(longest)


def table_rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the page's table, one for each cold start."""
    for name, cold_start_s in COLD_STARTS.items():
        moments = example(cold_start_s)
        most = max(moments, key=lambda moment: moment.lag)
        hours = sum(moment.wanted for moment in moments) / 3600
        yield (
            f"{cold_start_s:.0f} s ({name})",
            f"{most.lag:,.0f}",
            f"{longest_delay_s(moments):,.0f} s",
            f"{max(moment.wanted for moment in moments)}",
            f"{hours:.1f}",
        )


_WIDE, _TALL, _LEFT, _TOP, _GAP = 640, 150, 64, 40, 56
_COLOURS = ("#0b6e4f", "#1f4e9c", "#b3261e")


def picture() -> str:
    """Return the drawing: events waiting, and workers that answer, for each cold start."""
    runs = {cold: example(cold) for cold in COLD_STARTS.values()}
    title = "Lag and workers when 10 events/s become 30 for an hour, by the time a worker takes to start"
    whole = (_WIDE + _LEFT + 24, 2 * _TALL + _TOP + _GAP + 60)
    look = 'role="img" font-family="sans-serif" font-size="13" fill="#1f1f1f"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]} {whole[1]}" {look}>',
        f"<title>{title}</title>",
        f'<rect width="{whole[0]}" height="{whole[1]}" fill="#ffffff"/>',
        *_panel("events waiting", _TOP, [[moment.lag for moment in run] for run in runs.values()]),
        *_panel("workers that answer", _TOP + _TALL + _GAP, [[float(m.ready) for m in run] for run in runs.values()]),
    ]
    for number, cold in enumerate(runs):
        x, y = _LEFT + number * 170, whole[1] - 14
        lines.append(f'<path d="M {x} {y - 5} h 22" stroke="{_COLOURS[number]}" stroke-width="2.5"/>')
        lines.append(f'<text x="{x + 28}" y="{y}">cold start {cold:.0f} s</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(name: str, top: float, series: Sequence[Sequence[float]]) -> Iterator[str]:
    """Yield a chart over the time in minutes."""
    most = max(max(one) for one in series)
    yield f'<text x="{_LEFT}" y="{top - 8}">{name}</text>'
    yield f'<rect x="{_LEFT}" y="{top}" width="{_WIDE}" height="{_TALL}" fill="none" stroke="#c4c4c4"/>'
    for value in (0.0, most):
        y = top + _TALL * (1 - value / most) + 4
        yield f'<text x="{_LEFT - 8}" y="{y:.0f}" text-anchor="end">{value:,.0f}</text>'
    for minute in range(0, WHOLE_S // 60 + 1, 30):
        x = _LEFT + _WIDE * minute * 60 / WHOLE_S
        yield f'<text x="{x:.0f}" y="{top + _TALL + 18}" text-anchor="middle">{minute} min</text>'
    for colour, values in zip(_COLOURS, series, strict=True):
        points = (
            f"{_LEFT + _WIDE * second / WHOLE_S:.1f},{top + _TALL * (1 - values[second] / most):.1f}"
            for second in range(0, WHOLE_S, 30)
        )
        yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def stale(*, write: bool) -> list[Path]:
    """Return the picture if it is not what the simulation draws; with `write`, write it."""
    drawn = picture()
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn:
        return []
    if write:
        PICTURE.write_text(drawn, encoding="utf-8")
    return [PICTURE]


if __name__ == "__main__":
    sys.exit(main(lambda write: stale(write=write)))
