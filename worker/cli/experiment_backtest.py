"""`mirrorstream experiment backtest`."""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from worker.cli.options import Json, check_writable
from worker.core.errors import BadSettings

if TYPE_CHECKING:
    from worker.experiment.real_clicks.backtest import Backtest
    from worker.experiment.report.against_real import AgainstReal

MAX_NAMED = 20  # experiments that are named of each kind
_Rows = TypeVar("_Rows")


def backtest(
    table: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns experiment,simulated,real; optional: low,high,simulated_error."),
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="CSV with the columns experiment,real; optional: candidate,control,low,high.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="With --real: state file (SQLite) with the simulated effects.")
    ] = None,
    configuration: Annotated[
        str | None, typer.Option(help="Fingerprint of the simulated effects; default: of most of --real's experiments.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file to draw the tests to.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="State file to keep the result in, so that it stands beside its verdicts.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare simulated effects with the results of finished A/B tests."""
    from worker.experiment.page.backtest_plot import plot as drawing
    from worker.experiment.real_clicks import backtest as tests

    if (table is None) == (real is None):
        raise BadSettings("backtest: want --table FILE, or --real FILE with --state FILE")
    if (real is None) != (state is None):
        raise BadSettings("backtest: --real and --state need each other")
    if table and bool(configuration) != bool(keep):
        raise BadSettings("backtest: with --table, --keep and --configuration need each other")
    if keep and not keep.exists():
        raise BadSettings(f"--keep {keep}: want the state file that a reader keeps")
    check_writable("--plot", plot, beside=(table, real, state, keep))
    joined = _joined(real, state, configuration) if real and state else None
    rows = joined.tests if joined else _read("--table", table, tests.read) if table else ()
    found = tests.backtest(rows)
    if plot:
        plot.write_text(drawing(rows, found), encoding="utf-8")
    if keep:
        _keep(keep, found, joined.configuration if joined else configuration or "", joined.metric if joined else "")
    if as_json:
        about = {name: value for name, value in asdict(joined).items() if name != "tests"} if joined else {}
        typer.echo(json.dumps(asdict(found) | about))
    else:
        kept = [f"kept in {keep}: it stands beside every verdict from now on"] if keep else []
        typer.echo("\n".join([*(_about(joined) if joined else ()), *_figures(found), *kept]))


def _keep(path: Path, found: "Backtest", configuration: str, metric: str) -> None:
    from worker.experiment.readout import KeptBacktest
    from worker.experiment.store.database import State

    interval = found.direction_interval
    one = KeptBacktest(
        at=time.time_ns() // 1_000,
        config_fingerprint=configuration,
        metric=metric,
        tests=found.tests,
        with_direction=found.with_direction,
        right=found.right,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        passed=found.passed,
        words=found.words,
    )
    with closing(State(path)) as opened:
        opened.keep_backtest(one)


def _joined(real: Path, state: Path, configuration: str | None) -> "AgainstReal":
    from worker.experiment.real_clicks import real_lifts
    from worker.experiment.report import against_real, assemble
    from worker.experiment.store.database import State

    lifts = _read("--real", real, real_lifts.read)
    if not state.exists():
        raise BadSettings(f"--state {state}: want the file that a reader keeps")
    with closing(State(state, to_read=True)) as opened:
        readouts = assemble.report(opened, assemble.Defaults()).readouts
    try:
        return against_real.join(readouts, lifts, configuration)
    except BadSettings as error:
        raise BadSettings(f"--real {real} --state {state}: {error}") from error


def _read(option: str, path: Path, read: Callable[[Iterable[str]], _Rows]) -> _Rows:
    """Read a CSV file.  Raises `BadSettings` with the option and the row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return read(lines)
    except OSError as error:
        raise BadSettings(f"{option} {path}: {error.strerror}; want a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSettings(f"{option} {path}: is not CSV: {error}") from error
    except BadSettings as error:
        raise BadSettings(f"{option} {path}: {error}") from error


def _about(joined: "AgainstReal") -> Iterator[str]:
    """Yield what was joined, and what has one side alone."""
    yield f"configuration: {joined.configuration}"
    yield f"metric: {joined.metric}"
    for number, (name, why) in enumerate(joined.left_out.items()):
        if number == MAX_NAMED:
            yield f"left out: {len(joined.left_out) - MAX_NAMED:,} more; --json has all"
            break
        yield f"left out: {name}: {why}"
    if joined.without_lift:
        more = f" and {len(joined.without_lift) - MAX_NAMED:,} more" if len(joined.without_lift) > MAX_NAMED else ""
        yield f"in the state, but without a real lift: {', '.join(joined.without_lift[:MAX_NAMED])}{more}"
    if joined.further_candidates:
        yield f"further candidates that do not count, because they share their control: {joined.further_candidates:,}"


def _figures(found: "Backtest") -> Iterator[str]:
    for field in fields(found):
        value = getattr(found, field.name)
        if field.name != "by_confidence":
            yield f"{field.name.replace('_', ' ')}: {f'{value:.3f}' if isinstance(value, float) else value}"
    if found.by_confidence:
        yield "share answered, the clearest simulated effects first: direction accuracy"
    for one in found.by_confidence:
        ends = f"{100 * one.interval.low:.0f} to {100 * one.interval.high:.0f}"
        yield f"{100 * one.share:5.0f} %  {one.right:4} of {one.tests:<4} {100 * one.accuracy:4.0f} % ({ends})"
