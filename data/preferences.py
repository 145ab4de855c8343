"""A user's own data, in TRL's preference format: prompt, chosen, rejected."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

COLUMNS = ("prompt", "chosen", "rejected")


def examples(rows: Iterable[Mapping[str, Any]], name: str) -> list[Example]:
    """{"prompt": ..., "chosen": ..., "rejected": ...} -> one example a prompt, its rows' answers together.

    Plain strings are joined as they stand, as TRL joins them. In the conversational format (lists of messages) one
    user message and one assistant message are taken, and formatted as the recipe's `prompt_style` says.

    Raises:
        ValueError: a column is missing, an answer is empty, or a conversation has more than one turn.
    """
    # The inner dicts serve as ordered sets: several rows of a prompt may repeat an answer.
    merged: dict[tuple[str, bool], tuple[dict[str, None], dict[str, None]]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            missing = [column for column in COLUMNS if not row.get(column)]
            if missing:
                raise ValueError(f"no {' and no '.join(missing)}; each row needs {', '.join(COLUMNS)}")
            verbatim = isinstance(row["prompt"], str)
            prompt, chosen, rejected = (_text(row[column]) for column in COLUMNS)
            Example(name, prompt, (chosen,), (rejected,), ("dataset",))  # reports an empty one with its row's number
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
        right, wrong = merged.setdefault((prompt, verbatim), ({}, {}))
        right[chosen] = None
        wrong[rejected] = None
    return [
        Example(name, prompt, tuple(right), tuple(wrong), ("dataset",) * len(wrong), tuple(right), verbatim)
        for (prompt, verbatim), (right, wrong) in merged.items()
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) and "content" in value[0]:
        return str(value[0]["content"])
    raise ValueError(f"{value!r} is neither a string nor a list of one message; several turns are not supported")
