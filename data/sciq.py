"""SciQ: science exam questions with three distractors.

Welbl et al., 2017. https://huggingface.co/datasets/allenai/sciq, CC BY-NC 3.0: research only.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from data.answers import without_case_and_punctuation
from data.columns import text
from data.dataset import DataSet, FreeAnswerRule
from data.examples import Example, wrong_answers

_NAME = "sciq"


def example(row: Mapping[str, Any]) -> Example:
    """Convert {"question": ..., "correct_answer": "alpha decay", "distractor1": "beta decay", ..., "support": ...}.

    A distractor that the row leaves empty is left out. `support` gives the answer away, so it is shown in open-book
    evaluation only.
    """
    distractors = [text(row, f"distractor{i}") for i in (1, 2, 3)]
    answer = text(row, "correct_answer")
    wrong = wrong_answers([distractor for distractor in distractors if distractor.strip()], "dataset")
    return Example(_NAME, text(row, "question"), (answer,), wrong, aliases=(answer,), support=text(row, "support"))


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Make an example from each row."""
    return [example(row) for row in rows]


def harness_prompt(example: Example) -> str:
    """Return the harness's prompt without the passage, so closed book; the harness itself has no such task."""
    return f"Question: {example.question}\nAnswer:"


def open_book_prompt(example: Example) -> str:
    """Return the prompt of lm-evaluation-harness, task sciq, version 1, in which the passage comes first."""
    return f"{example.support.lstrip()}\nQuestion: {example.question}\nAnswer:"


SET = DataSet(
    name=_NAME,
    hub_id="allenai/sciq",
    config="default",
    train_split="train",
    validation_split="validation",
    test_split="test",
    examples=examples,
    leading_metric="acc",
    choice_metrics="accuracy",
    free_answers=FreeAnswerRule(without_case_and_punctuation, stops=("\n", ".", ",")),
    harness_prompt=harness_prompt,
    open_book_prompt=open_book_prompt,
    research_only=True,
)
