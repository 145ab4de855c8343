"""TriviaQA, closed book: trivia questions with one answer and its aliases.

Joshi et al., 2017. https://huggingface.co/datasets/mandarjoshi/trivia_qa. The set has no wrong answers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from data.answers import without_case_and_punctuation
from data.columns import inner, text, texts
from data.dataset import DataSet, FreeAnswerRule
from data.examples import Example

_NAME = "triviaqa"


def example(row: Mapping[str, Any]) -> Example:
    """Convert {"question": ..., "answer": {"value": "Chicago", "aliases": ["Chicago", "Chicago, Illinois", ...]}}.

    Only `value` is trained towards. The aliases contain redirects such as misspellings, which serve to judge an answer.
    """
    answer = inner(row, "answer")
    value = text(answer, "value")
    return Example(_NAME, text(row, "question"), truthful=(value,), aliases=(value, *texts(answer, "aliases")))


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Make an example from each row."""
    return [example(row) for row in rows]


def harness_prompt(example: Example) -> str:
    """Return the zero-shot prompt of lm-evaluation-harness, task triviaqa, version 3."""
    return f"Question: {example.question}?\nAnswer:"


SET = DataSet(
    name=_NAME,
    hub_id="mandarjoshi/trivia_qa",
    config="rc.nocontext",
    train_split="train",
    validation_split="validation",
    examples=examples,
    harness_prompt=harness_prompt,
    free_answers=FreeAnswerRule(without_case_and_punctuation, stops=("\n", ".", ",")),
)
