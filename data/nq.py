"""NQ-open: questions that people typed into a search engine, with short answers (Kwiatkowski et al., 2019; Lee et al.,
2019). https://huggingface.co/datasets/google-research-datasets/nq_open, CC BY-SA 3.0. It has no wrong answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from data.answers import without_case_and_punctuation
from data.examples import Example

NAME = "nq"
HUB_ID = "google-research-datasets/nq_open"
CONFIG = "nq_open"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


# lm-evaluation-harness, task nq_open, version 4.
HARNESS_STOPS = ("\n", ".", ",")
_IGNORED_ARTICLES = re.compile(r"\b(?:The |the |An |A |The |a |an )")


def harness_prompt(example: Example) -> str:
    """The harness's zero-shot prompt."""
    return f"Answer these questions:\n\nQ: {example.question}?\nA:"


def harness_answer(answer: str) -> str:
    """The form in which the harness compares answers: without articles, case and punctuation."""
    return without_case_and_punctuation(_IGNORED_ARTICLES.sub("", answer))


def example(row: Mapping[str, Any]) -> Example:
    """{"question": "who wrote emma", "answer": ["Jane Austen"]} -> Example. The first answer is the one trained on."""
    answers = tuple(answer for answer in row["answer"] if answer.strip())
    return Example(NAME, row["question"], truthful=answers, aliases=answers)


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
