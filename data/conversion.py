"""Convert rows, and say which one cannot be converted."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from data.errors import DataError
from data.files import NumberedRow, Row

T = TypeVar("T")

_UNFIT = (KeyError, ValueError, TypeError, AttributeError)


def converted(convert: Callable[[Iterable[Row]], T], rows: Iterable[NumberedRow], where: str) -> T:
    """Return what `convert` makes of the rows.

    Args:
        where: the name of their place.

    Raises:
        DataError: a row cannot be converted, or what they make together; the message begins with the place.
    """
    place = where

    def counted() -> Iterator[Row]:
        nonlocal place
        for number, row in rows:
            place = f"{where}: row {number}"
            yield row
        place = where  # what fails after the last row is not the last row's fault

    try:
        return convert(counted())
    except DataError:
        raise
    except _UNFIT as error:
        raise _fault(place, error) from None


def faults(convert: Callable[[Row], object], rows: Iterable[NumberedRow], where: str) -> Iterator[str]:
    """Say what is wrong with each of the rows that cannot be converted, in the words of `converted`."""
    for number, row in rows:
        try:
            convert(row)
        except _UNFIT as error:
            yield str(_fault(f"{where}: row {number}", error))


def _fault(place: str, error: Exception) -> DataError:
    if isinstance(error, KeyError):
        return DataError(f"{place} has no column {error}")
    if isinstance(error, ValueError):
        return DataError(f"{place}: {error}")
    return DataError(f"{place}: a value is missing, or not of the type that this set's columns have")
