"""Read the rows of a local file exactly as they stand, one after another, so that a large file needs little memory.

A path names one file, whatever brackets, stars or question marks it has, and a string stays a string.
`datasets.load_dataset` would take the path for a pattern and guess types from the values, such as dates, the number 7
from "007", and a missing value from "NA".
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data.errors import DataError, first_line

Row = dict[str, Any]
# A row with its number in the file, as a message shows it: in a file of JSON lines the number of its line, and in a CSV
# file, where a row may take several lines, such as "2 (line 5)".
NumberedRow = tuple[int | str, Row]

# Rows of a Parquet file that are in memory at a time.
_BATCH = 256
_MARK = b"\xef\xbb\xbf"
# The longest value of a CSV file; Python's own limit of 2 ** 17 characters is too small for a long document.
_LONGEST = 2**31 - 1


def file_rows(path: Path) -> Iterator[NumberedRow]:
    """Read the rows of a file, one after another.

    Args:
        path: a .parquet file; a .jsonl file with an object a line; a .csv or .tsv file, whose first line names the
            columns; or a .json file with one list of objects, which is read as a whole, or with an object a line.

    Raises:
        DataError: the file cannot be read, is broken, or holds no rows; the message names the file and the row.
    """
    import pyarrow as pa  # imported where a file is read, so that what only names the sets does not wait for it

    number: int | str | None = None
    try:
        for number, row in READERS[path.suffix](path):
            yield number, row
    except (pa.ArrowException, OSError, ValueError, RecursionError, csv.Error) as error:
        place = path if isinstance(error, _RowError) else f"{path} cannot be read as {path.suffix[1:]}"
        raise DataError(f"{place}: {first_line(error)}") from None
    if number is None:
        raise DataError(f"{path} holds no rows")


class _RowError(ValueError):
    """A row is broken; the message begins with its number."""


def _parquet_rows(path: Path) -> Iterator[NumberedRow]:
    import pyarrow.parquet as pq

    # From an open file: pyarrow's reader of paths also takes folder names such as a=b for columns.
    with path.open("rb") as file, pq.ParquetFile(file) as parquet:
        _require_different(parquet.schema_arrow.names)
        number = 0
        for batch in parquet.iter_batches(_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _jsonl_rows(path: Path) -> Iterator[NumberedRow]:
    with path.open("rb") as file:
        yield from _lines(file)


def _json_rows(path: Path) -> Iterator[NumberedRow]:
    content = path.read_bytes()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except ValueError:
        first = content.removeprefix(_MARK).lstrip()[:1]
        if first == b"[":
            raise
        yield from _lines(io.BytesIO(content))
        return
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, start=1):
        yield number, _object(row, number)


def _lines(file: Iterable[bytes]) -> Iterator[NumberedRow]:
    # Divided at line feeds alone: a JSON string may hold other separators of lines, such as U+2028.
    for number, line in enumerate(file, start=1):
        text = _decoded(line, number, f"row {number}")
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _RowError(f"row {number} is not one JSON object: {first_line(error)}") from None
        yield number, _object(value, number)


def _decoded(line: bytes, number: int, place: str) -> str:
    """Return line `number` of a file as text, without a byte order mark before the first."""
    line = line.removeprefix(_MARK) if number == 1 else line
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
        raise _RowError(f"{place} is not UTF-8 text: {found}") from None


def _csv_rows(path: Path) -> Iterator[NumberedRow]:
    return _table_rows(path, ",", "a comma")


def _tsv_rows(path: Path) -> Iterator[NumberedRow]:
    return _table_rows(path, "\t", "a tab")


def _table_rows(path: Path, delimiter: str, in_words: str) -> Iterator[NumberedRow]:
    csv.field_size_limit(_LONGEST)
    with path.open("rb") as file:
        lines = (_decoded(line, number, f"line {number}") for number, line in enumerate(file, start=1))
        # Strict, so that a quote that is never closed is an error and does not swallow the rows after it.
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        names, number = None, 0
        while True:
            place = f"row {number + 1} (line {reader.line_num + 1})" if names else f"line {reader.line_num + 1}"
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _RowError(f"{place} has its quotes wrong: {first_line(error)}") from None
            if not values:
                continue
            if names is None:
                names = _column_names(values, in_words)
                continue
            number += 1
            if len(values) != len(names):
                raise _RowError(
                    f"{place} has {len(values)} values, where the header names {len(names)} columns; a value that "
                    f"holds {in_words} or a line break needs double quotes round it"
                )
            yield place.removeprefix("row "), dict(zip(names, values, strict=True))


def _column_names(values: list[str], in_words: str) -> list[str]:
    _require_different(values)
    if len(values) == 1 and any(sign in values[0] for sign in ";,\t|"):
        raise ValueError(f"the header is the one column {shown(values[0])}, where {in_words} should divide columns")
    return values


def _require_different(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are named {twice!r}")


def _object(value: Any, number: int) -> Row:
    if not isinstance(value, dict):
        found = f"{shown(value)}, of type {type(value).__name__}"
        raise _RowError(f"row {number} is {found}, where an object such as {{...}} would be right")
    return value


def shown(value: object) -> str:
    """Return a value as a message shows it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


READERS: dict[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
}
