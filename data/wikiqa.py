"""WikiQA: search-engine questions with the sentences of one Wikipedia page, labelled as answering or not (Yang et al.,
2015). https://huggingface.co/datasets/microsoft/wiki_qa, Microsoft research licence: research only."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.examples import Example

NAME = "wikiqa"
HUB_ID = "microsoft/wiki_qa"
CONFIG = "default"
TRAIN_SPLIT = "train"
EVALUATION_SPLIT = "validation"


def harness_prompt(example: Example) -> str:
    """The harness has no task for this set; this is the prompt of the one that ships in recipes/lm_eval."""
    return f"Question: {example.question}\nAnswer:"


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Rows {"question_id": "Q1", "question": ..., "answer": <sentence>, "label": 0 or 1} -> one example a question.

    Questions without a correct sentence, or with nothing but correct ones, are left out, as usual for this set.
    """
    by_question: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_question.setdefault(row["question_id"], []).append(row)
    found = []
    for candidates in by_question.values():
        right = tuple(row["answer"] for row in candidates if row["label"] == 1)
        wrong = tuple(row["answer"] for row in candidates if row["label"] == 0)
        if right and wrong:
            question = candidates[0]["question"]
            found.append(Example(NAME, question, right, wrong, ("dataset",) * len(wrong), aliases=right))
    return found
