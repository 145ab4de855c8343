"""TriviaQA, closed book: trivia questions with one answer and its aliases (Joshi et al., 2017).
https://huggingface.co/datasets/mandarjoshi/trivia_qa, config rc.nocontext. It has no wrong answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

NAME = "triviaqa"
HUB_ID = "mandarjoshi/trivia_qa"
CONFIG = "rc.nocontext"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


def example(row: Mapping[str, Any]) -> Example:
    """{"question": ..., "answer": {"value": "Chicago", "aliases": ["Chicago", "Chicago, Illinois", ...]}} -> Example.

    Trained towards `value` alone: the aliases hold redirects such as misspellings, fit for judging an answer only.
    """
    value = row["answer"]["value"]
    return Example(NAME, row["question"], truthful=(value,), aliases=(value, *row["answer"]["aliases"]))


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
