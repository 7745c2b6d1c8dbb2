"""What a file's start says it is, and what values of other formats are in JSON."""

import codecs
import shlex
from base64 import b64encode
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from worker.core.codec.json_reader import WrittenNumber

WANT = "want one JSON object per line, each an impression or an outcome"
NOT_UTF8 = "is not UTF-8 text; iconv -f LATIN1 -t UTF-8 makes it so, with the encoding that the file has"
_PACKED = {b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4"}


def other_form(start: bytes, path: Path, want: str, *, is_table: bool) -> str:
    """Return what a file is whose start is no text of the kind that is wanted, and what to do; "" if it may be."""
    packed = next((name for mark, name in _PACKED.items() if start.startswith(mark)), "")
    if packed:
        return f"is packed ({packed}): unpack it first, or pack it by gzip, bzip2 or zstd; {want}"
    if start.startswith(b"PAR1"):
        return "is Parquet: give it a name that ends in .parquet"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start).strip()  # a character may be cut at the end
    except UnicodeDecodeError:
        # A line in another encoding is told with its number, once it is read.
        looks_right = is_table or start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
        return "" if looks_right else f"is not a text file (UTF-8): {want}"
    if "\0" in text:
        return f"is not a text file: {want}"
    if is_table:
        return "" if text else "is empty: want a table"
    return _other_text(text, path, want)


def _other_text(text: str, path: Path, want: str) -> str:
    """Return what a text is that is not JSON Lines, as `other_form`."""
    if not text:
        return f"is empty: {want}"
    if text.startswith("["):
        return f"is a JSON array: want one object per line (jq -c '.[]' {shlex.quote(str(path))})"
    first = text.splitlines()[0].strip()
    if first in {"{", "{}"} or (first.startswith("{") and first.endswith((",", "{", "["))):
        return f"has one JSON object over several lines: want one object per line (jq -c . {shlex.quote(str(path))})"
    if not first.startswith("{") and any(sign in first for sign in ",;\t"):
        return (
            f"is CSV: {want}; a table is read by a mapping if its name ends in .csv or .tsv, a folder of MovieLens with"
            " --movielens, a table of tests with --finished-tests"
        )
    return ""


def as_json(row: Mapping[str, Any], short: Collection[str] = ()) -> dict[str, Any]:
    """Return a row with the values that JSON has; `short` names columns of floats of 32 bits, of 49.9 for 49.900002."""
    return {
        name: WrittenNumber(str(np.float32(value))) if name in short and _is_number(value) else _value(value)
        for name, value in row.items()
    }


def _value(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return WrittenNumber(repr(value)) if _is_number(value) else None  # NaN, which pandas writes for a missing one
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return WrittenNumber(str(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(name): _value(inner) for name, inner in value.items()}
    return [_value(one) for one in value] if isinstance(value, list | tuple) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and bool(np.isfinite(value))
