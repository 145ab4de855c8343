"""What fails is told with the row that it fails in."""

from collections.abc import Iterable

import pytest

from data.conversion import converted
from data.errors import DataError
from data.files import Row


def doubled(rows: Iterable[Row]) -> list[int]:
    found = [2 * row["n"] for row in rows]
    if sum(found) > 100:
        raise ValueError("too much")
    return found


def test_rows_become_what_is_made_of_them() -> None:
    assert converted(doubled, [(1, {"n": 1}), (2, {"n": 2})], "here") == [2, 4]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "here: row 2 (line 7) has no column 'n'"),
        ({"n": None}, "here: row 2 (line 7): a value is missing, or not of the type that this set's columns have"),
        ({"n": 99}, "here: too much"),
    ],
)
def test_a_fault_is_told_with_its_row(row: Row, message: str) -> None:
    with pytest.raises(DataError) as caught:
        converted(doubled, [("1 (line 2)", {"n": 1}), ("2 (line 7)", row)], "here")
    assert str(caught.value) == message


def test_a_fault_of_the_reader_is_told_as_it_is() -> None:
    def broken() -> Iterable[tuple[int, Row]]:
        yield 1, {"n": 1}
        raise DataError("there: row 2 is broken")

    with pytest.raises(DataError, match=r"^there: row 2 is broken$"):
        converted(doubled, broken(), "here")
