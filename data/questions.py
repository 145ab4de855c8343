"""A user's own questions with right answers alone, for which wrong answers are found (`data.hallucinations`).

A row is {"prompt": "Who wrote Emma?", "answers": ["Jane Austen", "Austen"]}. The prompt is a question, or messages as
in `data.conversations`; `prompt_style` poses it. Rows of one prompt are one question, and any of its answers counts as
right. The first one is the best. A row may also have a `passage` that holds the answer; with another passage it is
another question.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from data.columns import as_text, described, text, texts
from data.conversations import Prompt, asked, require
from data.examples import Example
from data.own_data import Finding, Form, Grouped

ANSWERS = "answers"
PASSAGE = "passage"


def _read(row: Mapping[str, Any]) -> tuple[Prompt, tuple[str, ...]]:
    require(row, ("prompt",), f"each row needs a prompt and {ANSWERS}")
    value = row[ANSWERS]
    given = [as_text(value, ANSWERS)] if isinstance(value, str) else texts(row, ANSWERS)
    answers = tuple(answer for answer in given if answer.strip())
    if not answers:
        raise ValueError(f"{ANSWERS} is {described(value)}, where a right answer or a list of some would be right")
    passage = "" if row.get(PASSAGE) is None else text(row, PASSAGE).strip()
    prompt = replace(asked(row["prompt"]), support=passage)
    prompt.example("", answers)  # reports an empty question with its row
    return prompt, answers


def _combine(grouped: Grouped[tuple[str, ...]], name: str) -> tuple[list[Example], list[Finding]]:
    found = [prompt.example(name, tuple(dict.fromkeys(chain(*given)))) for prompt, given in grouped.items()]
    return found, []


FORM = Form(_read, _combine)
examples = FORM.examples
