"""NQ-open: questions that people typed into a search engine, with short answers.

Kwiatkowski et al., 2019; Lee et al., 2019. https://huggingface.co/datasets/google-research-datasets/nq_open,
CC BY-SA 3.0. The set has no wrong answers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from data.answers import without_case_and_punctuation
from data.columns import text, texts
from data.dataset import DataSet, FreeAnswerRule
from data.examples import Example

_NAME = "nq"
_IGNORED_ARTICLES = re.compile(r"\b(?:The |the |An |A |The |a |an )")


def example(row: Mapping[str, Any]) -> Example:
    """Convert {"question": "who wrote emma", "answer": ["Jane Austen"]}. The first answer is the best one."""
    answers = tuple(answer for answer in texts(row, "answer") if answer.strip())
    return Example(_NAME, text(row, "question"), truthful=answers, aliases=answers)


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Make an example from each row."""
    return [example(row) for row in rows]


def harness_prompt(example: Example) -> str:
    """Return the zero-shot prompt of lm-evaluation-harness, task nq_open, version 4."""
    return f"Answer these questions:\n\nQ: {example.question}?\nA:"


def harness_answer(answer: str) -> str:
    """Return the form in which the harness compares answers: without articles, case and punctuation."""
    return without_case_and_punctuation(_IGNORED_ARTICLES.sub("", answer))


SET = DataSet(
    name=_NAME,
    hub_id="google-research-datasets/nq_open",
    config="nq_open",
    train_split="train",
    validation_split="validation",
    examples=examples,
    harness_prompt=harness_prompt,
    free_answers=FreeAnswerRule(harness_answer, stops=("\n", ".", ",")),
)
