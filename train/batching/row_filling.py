"""Texts of several lengths in rows that pad to few tokens."""

from collections.abc import Sequence


def fill_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of groups of sequences in rows that pad to few tokens: of several widths the one that needs the least.

    Args:
        lengths: the `row_length` of each group.
    """
    layouts = [rows_of(lengths, max(lengths) * quarters // 4) for quarters in (4, 5, 6, 8)]
    return min(layouts, key=lambda rows: len(rows) * max(sum(lengths[i] for i in row) for row in rows))


def rows_of(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Indices of groups in rows of at most `width` tokens, or one that is longer; first fit, the longest first."""
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
