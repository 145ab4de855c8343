"""TruthfulQA: questions that people answer falsely from misconception (Lin et al., 2022).
https://huggingface.co/datasets/truthfulqa/truthful_qa, Apache-2.0. The config multiple_choice is the one read: it holds
the answers of the config generation, labelled. There is only `validation`: `data.sources` splits it in halves by a hash
of the question. The authors ask that the benchmark stay out of general training corpora; a model trained on its half
is to be judged on the other half alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

NAME = "truthfulqa"
HUB_ID = "truthfulqa/truthful_qa"
CONFIG = "multiple_choice"
TRAIN_SPLIT = "validation"
EVALUATION_SPLIT = "validation"


def example(row: Mapping[str, Any]) -> Example:
    """{"question": ..., "mc1_targets": {"choices": [...], "labels": [1, 0, ...]}, "mc2_targets": ...} -> Example.

    The true choice of mc1 comes first, then the other true choices of mc2. The false choices of mc1 and mc2 are the
    same, so one list of them serves both.
    """
    best = [choice for choice, label in _labelled(row["mc1_targets"]) if label]
    true = [choice for choice, label in _labelled(row["mc2_targets"]) if label and choice not in best]
    false = tuple(choice for choice, label in _labelled(row["mc2_targets"]) if not label)
    truthful = (*best, *true)
    return Example(NAME, row["question"], truthful, false, ("dataset",) * len(false), aliases=truthful)


def _labelled(targets: Mapping[str, list[Any]]) -> list[tuple[str, int]]:
    return list(zip(targets["choices"], targets["labels"], strict=True))


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """One example a row."""
    return [example(row) for row in rows]
