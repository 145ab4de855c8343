"""Read a column of a row as the type that it should have."""

from collections.abc import Mapping
from typing import Any

from data.files import shown


def text(row: Mapping[str, Any], column: str) -> str:
    """Return a column that holds a string.

    Raises:
        KeyError: the row has no such column.
        ValueError: the value is no string, or a string that is not valid text.
    """
    return as_text(row[column], column)


def as_text(value: object, column: str) -> str:
    """Return a value that should be a string, where `column` names it in messages.

    Raises:
        ValueError: it is none, or it is not valid text.
    """
    if not isinstance(value, str):
        raise ValueError(f"{column} is {described(value)}, where a string would be right")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X}"
        raise ValueError(f"{column} holds {half}, half of a surrogate pair, which is no character") from None
    return value


def texts(row: Mapping[str, Any], column: str) -> list[str]:
    """Return a column that holds a list of strings.

    Raises:
        KeyError, ValueError: as for `text`.
    """
    values = row[column]
    if not isinstance(values, list | tuple):
        raise ValueError(f"{column} is {described(values)}, where a list of strings would be right")
    return [as_text(value, f"value {number} of {column}") for number, value in enumerate(values, start=1)]


def inner(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """Return a column that holds an object of columns.

    Raises:
        KeyError: the row has no such column.
        ValueError: the value is no object.
    """
    value = row[column]
    if not isinstance(value, Mapping):
        raise ValueError(f"{column} is {described(value)}, where an object with columns of its own would be right")
    return value


def labels(row: Mapping[str, Any], column: str) -> list[int]:
    """Return a column that holds a list of labels, 0 or 1.

    Raises:
        KeyError: the row has no such column.
        ValueError: the value is no such list.
    """
    values = row[column]
    if not isinstance(values, list | tuple):
        raise ValueError(f"{column} is {described(values)}, where a list of labels would be right")
    return [as_label(value, f"value {number} of {column}") for number, value in enumerate(values, start=1)]


def as_label(value: object, column: str) -> int:
    """Return a value that should be 0 or 1, where `column` names it in messages.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f"{column} is {described(value)}, where 0 or 1 would be right")
    return int(value)


def described(value: object) -> str:
    """Return a value and its type as a message shows them."""
    return "missing (null)" if value is None else f"{shown(value)}, of type {type(value).__name__}"
