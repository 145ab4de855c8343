"""TriviaQA, closed book: trivia questions with one answer and its aliases (Joshi et al., 2017).
https://huggingface.co/datasets/mandarjoshi/trivia_qa, config rc.nocontext. It has no wrong answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.answers import without_case_and_punctuation
from data.examples import Example

NAME = "triviaqa"
HUB_ID = "mandarjoshi/trivia_qa"
CONFIG = "rc.nocontext"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


# lm-evaluation-harness, task triviaqa, version 3.
HARNESS_STOPS = ("\n", ".", ",")


def harness_prompt(example: Example) -> str:
    """The harness's zero-shot prompt."""
    return f"Question: {example.question}?\nAnswer:"


def harness_answer(answer: str) -> str:
    """The form in which the harness compares answers: without case and punctuation."""
    return without_case_and_punctuation(answer)


def example(row: Mapping[str, Any]) -> Example:
    """{"question": ..., "answer": {"value": "Chicago", "aliases": ["Chicago", "Chicago, Illinois", ...]}} -> Example.

    Trained towards `value` alone: the aliases hold redirects such as misspellings, fit for judging an answer only.
    """
    value = row["answer"]["value"]
    return Example(NAME, row["question"], truthful=(value,), aliases=(value, *row["answer"]["aliases"]))


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
