"""A user's own data, in TRL's unpaired format (KTO's): single answers, each labelled right or wrong.

Each right answer to a prompt is preferred to each wrong answer to the same prompt. An answer without one of the other
label beside it makes no pair, and is left out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from data.columns import described
from data.conversations import Prompt, completion, require
from data.examples import Example, wrong_answers
from data.own_data import Finding, Form, Grouped

_IN_WORDS = {"true": True, "false": False}


class LabelledAnswer(NamedTuple):
    """An answer, and whether it is right."""

    text: str
    right: bool


def _read(row: Mapping[str, Any]) -> tuple[Prompt, LabelledAnswer]:
    require(row, ("prompt", "completion", "label"), "each row needs a prompt, a completion, and a label true or false")
    prompt, text = completion(row)
    if not text.strip():
        raise ValueError(f"completion is {described(text)}, where an answer would be right")
    prompt.example("", (text,))  # reports an empty question with its row
    return prompt, LabelledAnswer(text, _as_boolean(row["label"]))


def _as_boolean(value: object) -> bool:
    # A CSV file has no booleans; pandas writes them as True and False there.
    found = _IN_WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError(f"label is {described(value)}, where true or false would be right")
    return found


def _combine(grouped: Grouped[LabelledAnswer], name: str) -> tuple[list[Example], list[Finding]]:
    found, contradictory, alone = [], 0, 0
    for prompt, answers in grouped.items():
        both = {text for text, right in answers if LabelledAnswer(text, not right) in answers}
        right, wrong = (
            tuple(answer.text for answer in answers if answer.right is label and answer.text not in both)
            for label in (True, False)
        )
        contradictory += sum(count for answer, count in answers.items() if answer.text in both)
        if right and wrong:
            found.append(prompt.example(name, right, wrong_answers(wrong, "dataset")))
        else:
            alone += sum(count for answer, count in answers.items() if answer.text not in both)
    if not found and (contradictory or alone):
        raise ValueError(f"of {contradictory + alone} rows no two have one prompt and different labels")
    return found, [
        Finding(
            contradictory,
            "rows label an answer that another row of the same prompt labels the other way, and were left out",
        ),
        Finding(alone, "rows have no row of the same prompt and the other label beside them, and were left out"),
    ]


FORM = Form(_read, _combine)
examples = FORM.examples
