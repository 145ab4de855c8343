"""NQ-open: questions that people typed into a search engine, with short answers (Kwiatkowski et al., 2019; Lee et al.,
2019). https://huggingface.co/datasets/google-research-datasets/nq_open, CC BY-SA 3.0. It has no wrong answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

NAME = "nq"
HUB_ID = "google-research-datasets/nq_open"
CONFIG = "nq_open"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


def example(row: Mapping[str, Any]) -> Example:
    """{"question": "who wrote emma", "answer": ["Jane Austen"]} -> Example. The first answer is the one trained on."""
    answers = tuple(answer for answer in row["answer"] if answer.strip())
    return Example(NAME, row["question"], truthful=answers, aliases=answers)


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
