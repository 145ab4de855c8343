"""Fill rows with texts of several lengths so that little padding is needed."""

from collections.abc import Sequence


def fill_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Put groups of sequences into rows, trying several widths and keeping the one that pads to the fewest tokens.

    Args:
        lengths: the `row_length` of each group.

    Returns:
        For each row the indices of its groups.
    """
    layouts = [rows_of(lengths, max(lengths) * quarters // 4) for quarters in (4, 5, 6, 8)]
    return min(layouts, key=lambda rows: len(rows) * max(sum(lengths[i] for i in row) for row in rows))


def rows_of(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Put groups into rows of at most `width` tokens, the longest first, each into the first row with room.

    A group longer than `width` has a row of its own.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((number for number, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows
