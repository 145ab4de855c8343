"""A user's own data, in TRL's preference format: prompt, chosen, rejected."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.columns import described, text
from data.examples import Example, wrong_answers

COLUMNS = ("prompt", "chosen", "rejected")
_ROLES = ("user", "assistant", "assistant")


def examples(rows: Iterable[Mapping[str, Any]], name: str) -> list[Example]:
    """Make one example from all rows {"prompt": ..., "chosen": ..., "rejected": ...} of a prompt.

    Plain strings are joined as they stand, as TRL joins them. In the conversational format (lists of messages), the
    prompt is one user message and the answers are one assistant message each; `prompt_style` formats them.

    Args:
        name: the path or Hub id of the data, for `Example.dataset`.

    Raises:
        ValueError: an answer is missing or empty, or a conversation has more than one turn.
    """
    # The inner dicts are ordered sets, because several rows of a prompt may repeat an answer.
    merged: dict[tuple[str, bool], tuple[dict[str, None], dict[str, None]]] = {}
    for row in rows:
        missing = [column for column in COLUMNS if row.get(column) in (None, "", [])]
        if missing:
            raise ValueError(f"no {' and no '.join(missing)}; each row needs {', '.join(COLUMNS)}")
        for column in COLUMNS:
            if not isinstance(row[column], str | list):
                forms = "a string, or a list of one message, would be right"
                raise ValueError(f"{column} is {described(row[column])}, where {forms}")
        values = [row[column] for column in COLUMNS]
        verbatim = all(isinstance(value, str) for value in values)
        if verbatim:
            values = [text(row, column) for column in COLUMNS]
        prompt, chosen, rejected = values if verbatim else map(_only_message, values, _ROLES)
        Example(name, prompt, (chosen,), wrong_answers([rejected], "dataset"))  # an empty one is reported with its row
        right, wrong = merged.setdefault((prompt, verbatim), ({}, {}))
        right[chosen] = None
        wrong[rejected] = None
    return [
        Example(
            name,
            prompt,
            truthful=tuple(right),
            wrong_answers=wrong_answers(wrong, "dataset"),
            aliases=tuple(right),
            verbatim=verbatim,
        )
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
