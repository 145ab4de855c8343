"""Read the rows of a local .parquet, .jsonl or .json file exactly as they stand.

A path names one file, whatever brackets, stars or question marks it has, and a JSON string stays a string.
`datasets.load_dataset` would take the path for a pattern and guess types, such as dates, from the values.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.errors import DataError, first_line

Row = dict[str, Any]
# A row with its number in the file; in a file of JSON lines that is the number of its line.
NumberedRow = tuple[int, Row]


def file_rows(path: Path) -> list[NumberedRow]:
    """Read all rows of a file.

    Args:
        path: a .parquet file, a .jsonl file with an object a line, or a .json file with one list of objects; a .json
            file may also have an object a line.

    Raises:
        DataError: the file cannot be read, is broken, or holds no rows; the message names the file and the row.
    """
    import pyarrow as pa  # imported where a file is read, so that what only names the sets does not wait for it

    try:
        rows = list(READERS[path.suffix](path))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        place = path if isinstance(error, _RowError) else f"{path} cannot be read as {path.suffix[1:]}"
        raise DataError(f"{place}: {first_line(error)}") from None
    if not rows:
        raise DataError(f"{path} holds no rows")
    return rows


class _RowError(ValueError):
    """A row is broken; the message begins with its number."""


def _parquet_rows(path: Path) -> Iterator[NumberedRow]:
    import pyarrow.parquet as pq

    # From an open file: pyarrow's reader of paths also takes folder names such as a=b for columns.
    with path.open("rb") as file, pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two columns are named {twice!r}")
        number = 0
        for batch in parquet.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _jsonl_rows(path: Path) -> Iterator[NumberedRow]:
    return _lines(path.read_bytes())


def _json_rows(path: Path) -> Iterator[NumberedRow]:
    content = path.read_bytes()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except ValueError:
        first = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if first == b"[":
            raise
        yield from _lines(content)
        return
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, start=1):
        yield number, _object(row, number)


def _lines(content: bytes) -> Iterator[NumberedRow]:
    # Divided at line feeds alone: a JSON string may hold other separators of lines, such as U+2028.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.decode("utf-8")
            if not text.strip():
                continue
            value = json.loads(text)
        except UnicodeDecodeError as error:
            found = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
            raise _RowError(f"row {number} is not UTF-8 text: {found}") from None
        except (ValueError, RecursionError) as error:
            raise _RowError(f"row {number} is not one JSON object: {first_line(error)}") from None
        yield number, _object(value, number)


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
}
