"""Read a row of preferences in any of TRL's forms: one prompt, and the answer that is preferred to another.

The forms are in TRL's documentation ("Dataset formats"). Prompt and answers are strings or lists of messages, and the
prompt may be implicit: then both answers begin with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from data.columns import as_text, described

COLUMNS = ("prompt", "chosen", "rejected")
_FORMS = "a string or a list of messages such as {'role': 'user', 'content': ...} would be right"


@dataclass(frozen=True)
class Prompt:
    """What an answer follows.

    Args:
        text: the user's message, or a whole prompt where `verbatim` is set.
        system: the system message; empty where there is none.
        verbatim: join the prompt and its answers as they stand, without a template.
    """

    text: str
    system: str = ""
    verbatim: bool = False


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


class Preference(NamedTuple):
    """Two answers to a prompt, of which the first is preferred."""

    prompt: Prompt
    chosen: str
    rejected: str


def preference(row: Mapping[str, Any]) -> Preference:
    """Read {"prompt": ..., "chosen": ..., "rejected": ...}, or a row without `prompt`.

    Raises:
        ValueError: a column is missing, empty or of another form, or the conversation has several turns.
    """
    needed = [column for column in COLUMNS if column in row or column != "prompt"]
    missing = [column for column in needed if row.get(column) in (None, "", [])]
    if missing:
        raise ValueError(
            f"no {' and no '.join(missing)}; each row needs chosen and rejected, and a prompt unless both begin with it"
        )
    values = {column: _text_or_messages(row[column], column) for column in needed}
    answers = values["chosen"], values["rejected"]
    match values.get("prompt"), *answers:
        case None, str(chosen), str(rejected):
            return _implicit_text(chosen, rejected)
        case str(prompt), str(chosen), str(rejected):
            return Preference(Prompt(prompt, verbatim=True), chosen, rejected)
        case prompt, [*chosen], [*rejected]:
            return _conversation(prompt, chosen, rejected)
    raise ValueError("some columns are strings and some are lists of messages; chosen and rejected should be alike")


def asked(value: object) -> Prompt:
    """Read a prompt alone, as a question in words or as messages; `prompt_style` poses it.

    Raises:
        ValueError: it is of another form, or has several turns.
    """
    match _text_or_messages(value, "prompt"):
        case str(question):
            return Prompt(question)
        case messages:
            return _single_turn(messages)


def _text_or_messages(value: object, column: str) -> str | list[Message]:
    if isinstance(value, str):
        return as_text(value, column)
    if isinstance(value, Sequence):
        return [_message(each, f"message {number} of {column}") for number, each in enumerate(value, start=1)]
    raise ValueError(f"{column} is {described(value)}, where {_FORMS}")


def _message(value: object, place: str) -> Message:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} is {described(value)}, where {{'role': ..., 'content': ...}} would be right")
    content = value.get("content")
    match content:
        case [{"type": "text", "text": str(text), **_rest}]:
            content = text
    return Message(as_text(value.get("role"), f"the role of {place}"), as_text(content, f"the content of {place}"))


def _implicit_text(chosen: str, rejected: str) -> Preference:
    """Take the beginning that both texts share for the prompt, up to the space before they part.

    TRL's rule, `extract_prompt`. Where one text is all that they share, its last character stays its answer.
    """
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = "".join(letter for letter, _ in alike)
    if len(shared) == min(len(chosen), len(rejected)) or shared.endswith(" "):
        shared = shared[:-1]
    if not shared.strip():
        raise ValueError("there is no prompt, and chosen and rejected do not begin alike")
    return Preference(Prompt(shared, verbatim=True), chosen[len(shared) :], rejected[len(shared) :])


def _conversation(prompt: str | list[Message] | None, chosen: list[Message], rejected: list[Message]) -> Preference:
    """Divide messages into the prompt's and the two answers."""
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("the messages of chosen and rejected differ before the last one; both need one prompt")
    before = _before_answers(prompt, chosen[:-1])
    for column, messages in (("chosen", chosen), ("rejected", rejected)):
        if messages[-1].role != "assistant":
            raise ValueError(f"{column} ends with a message of {messages[-1].role!r}, where 'assistant' would be right")
    return Preference(_single_turn(before), chosen[-1].content, rejected[-1].content)


def _single_turn(messages: Sequence[Message]) -> Prompt:
    match messages:
        case [Message("user", text)]:
            return Prompt(text)
        case [Message("system" | "developer", system), Message("user", text)]:
            return Prompt(text, system)
    roles = ", ".join(message.role for message in messages)
    raise ValueError(
        f"the prompt has the messages ({roles}), where one of user, after one of system at most, would be right; "
        "conversations of several turns are not supported"
    )


def _before_answers(prompt: str | list[Message] | None, shared: list[Message]) -> list[Message]:
    """Return the messages before the answers, where the answers' conversations may repeat the prompt."""
    if prompt is None:
        return shared
    if isinstance(prompt, str):
        if not shared:
            return [Message("user", prompt)]
        if shared[-1].content.strip() != prompt.strip():
            raise ValueError("the prompt is not the message that chosen and rejected answer")
        return shared
    if not shared or prompt == shared:
        return prompt
    raise ValueError("the messages of prompt are not those that chosen and rejected begin with")
