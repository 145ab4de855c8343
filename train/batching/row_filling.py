"""Fill rows with texts of several lengths so that little padding is needed."""

from collections.abc import Sequence

# Tokens of the groups in a wide row.
_WIDE = 512


def fill_rows(lengths: Sequence[int], preamble: int = 0) -> list[list[int]]:
    """Put groups of sequences into rows, trying several widths and keeping the one that makes the fewest tokens.

    Args:
        lengths: the `row_length` of each group.
        preamble: tokens that each row has beside its groups. Wider rows pay then, up to a limit, because attention
            grows with the square of the width.

    Returns:
        For each row the indices of its groups.
    """
    longest = max(lengths)
    widths = [longest * quarters // 4 for quarters in (4, 5, 6, 8)]
    if preamble:
        widths += [width for width in (_WIDE // 2, _WIDE) if width > longest]
    layouts = [rows_of(lengths, width) for width in widths]
    return min(layouts, key=lambda rows: len(rows) * (preamble + max(sum(lengths[i] for i in row) for row in rows)))


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
