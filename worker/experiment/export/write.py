"""The export of one experiment to one file, from one snapshot of the state."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

from worker.core.errors import BadSettings
from worker.experiment.definition import check_known
from worker.experiment.export import rows as tables
from worker.experiment.export.columns import ANSWERS, USERS, Column, Row
from worker.experiment.export.table_files import CsvFile, ParquetFile, TableFile, check_parquet, replacing
from worker.experiment.report.assemble import is_placebo
from worker.experiment.store.database import State
from worker.system import stopping

_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite adds to the name of a database
BATCH_ROWS = 10_000  # in memory at once: some 10 MB of answers with 16 options


class Table(StrEnum):
    """What is exported."""

    USERS = "users"
    ANSWERS = "answers"


class FileFormat(StrEnum):
    """How it is written."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Target:
    """Where an export goes; `format` None goes by the ending of `path`."""

    path: Path
    format: FileFormat | None = None
    force: bool = False  # replaces a file that is there
    safe_csv: bool = False  # see `table_files`


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    to: str
    what: str
    rows: int
    formula_cells: int  # cells of text that a spreadsheet may run as a formula


def export(
    state: Path, experiment: str, what: Table, target: Target, *, tell: Callable[[int], object] = lambda _: None
) -> Exported:
    """Write all rows of an experiment; `tell` gets their number now and then.

    Raises `BadSettings` before anything is written: no such state or experiment, a format that is unknown or cannot be
    written here, a file that is there.
    """
    kind = _format(target)
    if not state.exists():
        raise BadSettings(f"--state {state}: want the file that a reader keeps")
    _check_apart(target.path, state)
    with closing(State(state, to_read=True)) as opened, opened.snapshot():
        check_known(experiment, (one for one in opened.experiments() if not is_placebo(one)))
        # SIGTERM and SIGHUP unwind, as Ctrl-C does: the unfinished file is personal data.
        with stopping.unwinding(again=stopping.end), replacing(target.path, force=target.force) as part:
            found = _rows(opened, experiment, what)
            file = _file(part, kind, ANSWERS if what is Table.ANSWERS else USERS, safe=target.safe_csv)
            with closing(file):
                number = 0
                while batch := list(islice(found, BATCH_ROWS)):
                    file.write(batch)
                    number += len(batch)
                    tell(number)
    return Exported(str(target.path), what.value, number, file.formula_cells)


def _check_apart(path: Path, state: Path) -> None:
    """Refuse the state file, and the files of the same name that SQLite keeps what was written last in."""
    if path.exists() and path.samefile(state):
        raise BadSettings(f"--to {path}: is the state file itself; want another file")
    whole = state.resolve()
    if path.parent.resolve() / path.name in {whole.with_name(whole.name + end) for end in _BESIDE}:
        raise BadSettings(f"--to {path}: is SQLite's part of the state file; want another file")


def _format(target: Target) -> FileFormat:
    ending = target.path.suffix.lower().removeprefix(".")
    if target.format is None and ending not in set(FileFormat):
        raise BadSettings(f"--to {target.path}: want a name that ends in .csv or .parquet, or --format")
    kind = target.format or FileFormat(ending)
    if kind is FileFormat.PARQUET:
        check_parquet()
        if target.safe_csv:
            raise BadSettings("--safe-csv: is for CSV; Parquet has no formulas")
    return kind


def _rows(state: State, experiment: str, what: Table) -> Iterator[Row]:
    read = tables.answers if what is Table.ANSWERS else tables.users
    return read(state.db, experiment, state.forms(experiment))


def _file(path: Path, kind: FileFormat, columns: tuple[Column, ...], *, safe: bool) -> TableFile:
    return ParquetFile(path, columns) if kind is FileFormat.PARQUET else CsvFile(path, columns, safe=safe)
