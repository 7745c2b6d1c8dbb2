"""The plot of a backtest as one SVG file: each finished test by its simulated effect (right) and its real lift (up).

    real lift
      |     |   o-   right direction: upper right, lower left
    --+-----------   wrong direction: a cross
      | x   |        no direction, the real interval holds 0: a grey ring
      simulated effect

Bars are 95 % intervals.  The file needs no script, font or style sheet.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import floor, log10

from worker.experiment.page.charts import Scale
from worker.experiment.real_clicks.backtest import Backtest, Finished

_SIZE, _EDGE = 520, 70  # of the square of the plot and the room around it, in the units of the drawing
_Z = 1.96  # of an error of the simulated effect
_ALMOST = 1 + 1e-9  # of a step that is just as large as it may be
_ROOM = 1.1  # so that no mark touches the edge
_RIGHT, _WRONG, _NEITHER, _LINE = "#0b6e4f", "#b3261e", "#757575", "#1f1f1f"


def plot(tests: Sequence[Finished], found: Backtest) -> str:
    """Return the drawing; its title says in words what it shows."""
    across = _scale(end for one in tests for end in _simulated(one))
    up = _scale(end for one in tests for end in _real(one))
    whole = _SIZE + 2 * _EDGE
    title = f"{found.right} of {found.with_direction} finished tests with the right direction; {found.words}"
    look = f'role="img" font-family="sans-serif" font-size="13" fill="{_LINE}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {whole}" {look}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{whole}" height="{whole}" fill="#ffffff"/>',
        *_axes(across, up),
        *_slope(tests, found, across, up),
        *(mark for one in tests for mark in _mark(one, across, up)),
        _text(whole / 2, whole - 16, "simulated effect (bars: 95 % intervals)"),
        f'<g transform="translate(18 {whole / 2}) rotate(-90)">{_text(0, 0, "real lift")}</g>',
        *_legend(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _scale(ends: Iterable[float]) -> Scale:
    return Scale(0.0, max((abs(end) for end in ends), default=0.0) * _ROOM or 1.0)


def _simulated(one: Finished) -> tuple[float, float]:
    half = _Z * (one.simulated_error or 0.0)
    return one.simulated - half, one.simulated + half


def _real(one: Finished) -> tuple[float, float]:
    return (one.interval.low, one.interval.high) if one.interval else (one.real, one.real)


def _x(scale: Scale, value: float) -> float:
    return round(_EDGE + scale.place(value) / 100 * _SIZE, 1)


def _y(scale: Scale, value: float) -> float:
    return round(_EDGE + _SIZE - scale.place(value) / 100 * _SIZE, 1)


def _axes(across: Scale, up: Scale) -> Iterator[str]:
    middle, end = _EDGE + _SIZE / 2, _EDGE + _SIZE
    yield f'<rect x="{_EDGE}" y="{_EDGE}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="#c4c4c4"/>'
    yield _line(_EDGE, middle, end, middle, _LINE)
    yield _line(middle, _EDGE, middle, end, _LINE)
    for value in _ticks(across.half):
        yield _text(_x(across, value), end + 20, _written(value))
    for value in _ticks(up.half):
        yield _text(_EDGE - 8, _y(up, value) + 4, _written(value), anchor="end")


def _ticks(half: float) -> list[float]:
    """Return 0 and the round values on both sides of it, two to four of each.

    >>> _ticks(0.096), _ticks(0.0024)
    ([-0.08, -0.04, 0.0, 0.04, 0.08], [-0.002, -0.001, 0.0, 0.001, 0.002])
    """
    power = 10.0 ** floor(log10(half / 2))
    step = max(size * power for size in (1, 2, 4, 5) if size * power <= half / 2 * _ALMOST)
    num = floor(half / step)
    return [float(f"{place * step:.3g}") for place in range(-num, num + 1)]


def _written(value: float) -> str:
    return f"{value:+.3g}" if value else "0"


def _slope(tests: Sequence[Finished], found: Backtest, across: Scale, up: Scale) -> Iterator[str]:
    """Yield the line of least squares, where there is one, through the mean of the tests."""
    if found.slope is None:
        return
    x, y = (sum(values) / len(tests) for values in ([one.simulated for one in tests], [one.real for one in tests]))
    ends = [
        (at, y + found.slope * (at - x))
        for at in (min(one.simulated for one in tests), max(one.simulated for one in tests))
    ]
    (x1, y1), (x2, y2) = ((_x(across, at), _y(up, value)) for at, value in ends)
    yield _line(x1, y1, x2, y2, _NEITHER, dash="6 4")


def _mark(one: Finished, across: Scale, up: Scale) -> Iterator[str]:
    colour = (_RIGHT if one.is_right else _WRONG) if one.has_direction else _NEITHER
    x, y = _x(across, one.simulated), _y(up, one.real)
    (left, right), (low, high) = _simulated(one), _real(one)
    yield f"<g><title>{escape(f'{one.experiment}: simulated {one.simulated:+.3f}, real {one.real:+.3f}')}</title>"
    yield _line(_x(across, left), y, _x(across, right), y, colour, thin=True)
    yield _line(x, _y(up, low), x, _y(up, high), colour, thin=True)
    yield _point(x, y, colour)
    yield "</g>"


def _point(x: float, y: float, colour: str) -> str:
    """Return a mark that tells its kind by its form, too: a dot, a cross or a ring."""
    if colour == _WRONG:
        return f'<path d="M{x - 5} {y - 5}l10 10m0 -10l-10 10" stroke="{colour}" stroke-width="2.5" fill="none"/>'
    fill = colour if colour == _RIGHT else "#ffffff"
    return f'<circle cx="{x}" cy="{y}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _legend() -> Iterator[str]:
    kinds = ((_RIGHT, "right direction"), (_WRONG, "wrong direction"), (_NEITHER, "real interval holds 0"))
    for number, (colour, words) in enumerate(kinds):
        x, y = _EDGE + 10 + number * 170, 36
        yield _point(x, y, colour)
        yield _text(x + 12, y + 4, words, anchor="start")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, thin: bool = False, dash: str = "") -> str:
    look = f' stroke-dasharray="{dash}"' if dash else ' stroke-opacity="0.5"' if thin else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{look}/>'


def _text(x: float, y: float, words: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
