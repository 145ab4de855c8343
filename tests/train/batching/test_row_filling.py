"""Rows are filled with little padding."""

from train.batching.row_filling import fill_rows, rows_of


def test_rows_are_filled() -> None:
    assert rows_of([3, 9, 2, 5, 4], 9) == [[1], [3, 4], [0, 2]]
    assert rows_of([12, 1], 4) == [[0], [1]]
    rows = fill_rows([10, 9, 8, 2, 1])  # width 10 has no padding: 10, 9 + 1, 8 + 2
    assert sorted(map(sorted, rows)) == [[0], [1, 4], [2, 3]]
