"""Convert rows, and say which one cannot be converted."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from data.errors import DataError
from data.files import NumberedRow, Row

T = TypeVar("T")


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
    except KeyError as error:
        raise DataError(f"{place} has no column {error}") from None
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    except (TypeError, AttributeError):
        raise DataError(f"{place}: a value is missing, or not of the type that this set's columns have") from None
