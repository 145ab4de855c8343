"""A user's own data, in TRL's preference format: prompt, chosen, rejected."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

COLUMNS = ("prompt", "chosen", "rejected")
_ROLES = ("user", "assistant", "assistant")


def examples(rows: Iterable[Mapping[str, Any]], name: str) -> list[Example]:
    """{"prompt": ..., "chosen": ..., "rejected": ...} -> one example a prompt, its rows' answers together.

    Plain strings are joined as they stand, as TRL joins them. In the conversational format (lists of messages) one
    user message and one assistant message are taken, and formatted as the recipe's `prompt_style` says.

    Raises:
        ValueError: an answer is missing or empty, or a conversation has more than one turn.
    """
    # The inner dicts serve as ordered sets: several rows of a prompt may repeat an answer.
    merged: dict[tuple[str, bool], tuple[dict[str, None], dict[str, None]]] = {}
    for row in rows:
        missing = [column for column in COLUMNS if not row.get(column)]
        if missing:
            raise ValueError(f"no {' and no '.join(missing)}; each row needs {', '.join(COLUMNS)}")
        values = [row[column] for column in COLUMNS]
        verbatim = all(isinstance(value, str) for value in values)
        prompt, chosen, rejected = values if verbatim else map(_only_message, values, _ROLES)
        Example(name, prompt, (chosen,), (rejected,), ("dataset",))  # so that an empty one is told with its row
        right, wrong = merged.setdefault((prompt, verbatim), ({}, {}))
        right[chosen] = None
        wrong[rejected] = None
    return [
        Example(name, prompt, tuple(right), tuple(wrong), ("dataset",) * len(wrong), tuple(right), verbatim)
        for (prompt, verbatim), (right, wrong) in merged.items()
    ]


def _only_message(messages: Any, role: str) -> str:
    match messages:
        case [{"role": found, "content": str(content)}] if found == role:
            return content
    raise ValueError(
        f"prompt, chosen and rejected should be three strings, or three lists of one message; there is no single "
        f"{role} message here (several turns are not supported)"
    )
