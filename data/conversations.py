"""Read prompts and answers in any of TRL's forms: strings, or conversations of one turn or several.

The forms are in TRL's documentation ("Dataset formats"). Prompt and answers are strings or lists of messages. The
prompt of a preference may be implicit: then both answers begin with it. What is answered last is what is learnt; all
that stands before it belongs to the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from data.columns import as_text, described
from data.examples import Example, WrongAnswer

_FORMS = "a string or a list of messages such as {'role': 'user', 'content': ...} would be right"
_TURNS = "user and assistant take turns, after one system message at most"
_TOOLS = ("tool", "function", "ipython")
_SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Prompt:
    """What an answer follows; the fields are those of `data.examples.Example`.

    Args:
        text: the user's last message, or a whole prompt where `verbatim` is set.
        system: the system message; empty where there is none.
        history: the earlier turns: what the user said, and what the assistant answered.
        verbatim: join the prompt and its answers as they stand, without a template.
        support: a passage that comes with the question; empty where there is none.
    """

    text: str
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    verbatim: bool = False
    support: str = ""

    @property
    def opening(self) -> str:
        """The user's first message; see `data.examples.Example`."""
        return self.history[0][0] if self.history else self.text

    def example(
        self,
        name: str,
        truthful: tuple[str, ...],
        wrong: tuple[WrongAnswer, ...] = (),
        pairs: tuple[tuple[str, str], ...] = (),
    ) -> Example:
        """Make the example of this prompt and its answers, in the data set `name`.

        Raises:
            ValueError: the question or an answer is empty.
        """
        return Example(
            name,
            self.text,
            truthful=truthful,
            wrong_answers=wrong,
            aliases=truthful,
            verbatim=self.verbatim,
            support=self.support,
            system=self.system,
            history=self.history,
            pairs=pairs,
        )


class Message(NamedTuple):
    """One message of a conversation."""

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
        ValueError: a column is missing, empty or of another form, or its messages are not in turn.
    """
    columns = [column for column in ("prompt", "chosen", "rejected") if column in row or column != "prompt"]
    require(row, columns, "each row needs chosen and rejected, and a prompt unless both begin with it")
    values = {column: _text_or_messages(row[column], column) for column in columns}
    prompt = values.pop("prompt", None)
    chosen, rejected = values.values()
    if prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        return _implicit_text(chosen, rejected)
    found, answers = _answered(prompt, values)
    return Preference(found, *answers)


def completion(row: Mapping[str, Any]) -> tuple[Prompt, str]:
    """Read the prompt and the answer of {"prompt": ..., "completion": ...}.

    Raises:
        ValueError: as for `preference`.
    """
    answers = {"completion": _text_or_messages(row["completion"], "completion")}
    prompt, (answer,) = _answered(_text_or_messages(row["prompt"], "prompt"), answers)
    return prompt, answer


def asked(value: object) -> Prompt:
    """Read a prompt alone, as a question in words or as messages; `prompt_style` poses it.

    Raises:
        ValueError: it is of another form, or its messages are not in turn.
    """
    match _text_or_messages(value, "prompt"):
        case str(question):
            return Prompt(question)
        case messages:
            return _in_turn(messages)


def require(row: Mapping[str, Any], columns: Sequence[str], right: str) -> None:
    """Check that a row has a value in each of the columns, and no tools, which no prompt would show.

    Raises:
        ValueError: one is missing or empty; `right` is what the message adds.
    """
    missing = [column for column in columns if row.get(column) in (None, "", [])]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)}; {right}")
    if row.get("tools"):
        raise ValueError("the row has tools, which are not supported; leave the column out")


def _text_or_messages(value: object, column: str) -> str | list[Message]:
    if isinstance(value, str):
        return as_text(value, column)
    if isinstance(value, Sequence):
        return [_message(each, f"message {number} of {column}") for number, each in enumerate(value, start=1)]
    raise ValueError(f"{column} is {described(value)}, where {_FORMS}")


def _message(value: object, place: str) -> Message:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} is {described(value)}, where {{'role': ..., 'content': ...}} would be right")
    role = as_text(value.get("role"), f"the role of {place}")
    if role in _TOOLS or value.get("tool_calls"):
        raise ValueError(f"{place} is of a tool or calls one, which is not supported; {_TURNS}")
    content = value.get("content")
    match content:
        case [{"type": "text", "text": str(text), **_rest}]:
            content = text
    return Message(role, as_text(content, f"the content of {place}"))


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


def _answered(
    prompt: str | list[Message] | None, answers: Mapping[str, str | list[Message]]
) -> tuple[Prompt, list[str]]:
    """Return the prompt and the answers to it, which are all strings or all conversations."""
    texts = [value for value in answers.values() if isinstance(value, str)]
    conversations = {column: value for column, value in answers.items() if not isinstance(value, str)}
    if isinstance(prompt, str) and not conversations:
        return Prompt(prompt, verbatim=True), texts
    if texts:
        alike = " and ".join(answers if len(answers) > 1 else ("prompt", *answers))
        raise ValueError(f"some columns are strings and some are lists of messages; {alike} should be alike")
    return _conversation(prompt, conversations)


def _conversation(prompt: str | list[Message] | None, answers: Mapping[str, list[Message]]) -> tuple[Prompt, list[str]]:
    """Divide messages into the prompt's and the answers."""
    shared, *others = (messages[:-1] for messages in answers.values())
    columns = " and ".join(answers)
    if any(other != shared for other in others):
        raise ValueError(f"the messages of {columns} differ before the last one; both need one prompt")
    before = _before_answers(prompt, shared, columns)
    for column, messages in answers.items():
        if messages[-1].role != "assistant":
            raise ValueError(f"{column} ends with a message of {messages[-1].role!r}, where 'assistant' would be right")
    return _in_turn(before), [messages[-1].content for messages in answers.values()]


def _in_turn(messages: Sequence[Message]) -> Prompt:
    """Make the prompt of messages that end with the user's."""
    system = messages[0].content if messages and messages[0].role in _SYSTEM else ""
    first = int(bool(messages) and messages[0].role in _SYSTEM)
    turns = messages[first:]
    for number, message in enumerate(turns):
        right = ("user", "assistant")[number % 2]
        if message.role != right:
            place = f"message {first + number + 1} of the conversation"
            raise ValueError(f"{place} has the role {message.role!r}, where {right!r} would be right; {_TURNS}")
    if len(turns) % 2 == 0:
        last = f"ends with a message of {turns[-1].role!r}" if turns else "has no message of the user"
        raise ValueError(f"the prompt {last}, where a last one of 'user' would be right")
    contents = [message.content for message in turns]
    history = tuple(zip(contents[:-1:2], contents[1::2], strict=True))
    return Prompt(contents[-1], system, history)


def _before_answers(prompt: str | list[Message] | None, shared: list[Message], columns: str) -> list[Message]:
    """Return the messages before the answers, where the answers' conversations may repeat the prompt or go on."""
    if prompt is None:
        return shared
    if isinstance(prompt, str):
        if not shared:
            return [Message("user", prompt)]
        # Sets of several turns repeat the first message or the last one here.
        if prompt.strip() not in {message.content.strip() for message in shared if message.role == "user"}:
            raise ValueError(f"the prompt is no message of the user that {columns} begin with")
        return shared
    if not shared or prompt == shared:
        return prompt
    if shared[0].role == "assistant":
        return [*prompt, *shared]
    raise ValueError(f"the messages of prompt are not those that {columns} begin with")
