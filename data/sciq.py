"""SciQ: science exam questions with three distractors (Welbl et al., 2017).
https://huggingface.co/datasets/allenai/sciq, CC BY-NC 3.0: research only."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

NAME = "sciq"
HUB_ID = "allenai/sciq"
CONFIG = "default"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


def harness_prompt(example: Example) -> str:
    """lm-evaluation-harness's prompt without the passage, so closed-book; the harness has no such task."""
    return f"Question: {example.question}\nAnswer:"


def open_book_prompt(example: Example) -> str:
    """lm-evaluation-harness's prompt (task sciq, version 1): the supporting passage comes first."""
    return f"{example.support.lstrip()}\nQuestion: {example.question}\nAnswer:"


def example(row: Mapping[str, Any]) -> Example:
    """{"question": ..., "correct_answer": "alpha decay", "distractor1": "beta decay", ...} -> Example.

    A distractor that the row leaves empty is passed over. `support` gives the answer away, so it is shown in open-book
    evaluation only.
    """
    distractors = tuple(row[f"distractor{i}"] for i in (1, 2, 3) if row[f"distractor{i}"].strip())
    answer = row["correct_answer"]
    origins = ("dataset",) * len(distractors)
    return Example(NAME, row["question"], (answer,), distractors, origins, (answer,), support=row["support"])


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
