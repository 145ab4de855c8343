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


# Three questions of our own with answers in an encyclopaedia's sentences, shown before every question as TruthfulQA's
# authors show theirs. docs/lab-notebook.md has the trial without them.
_HARNESS_SHOTS = (
    ("how long is a day on mars", "A day on Mars lasts 24 hours and 37 minutes, a little longer than a day on Earth."),
    ("what is a sonnet", "A sonnet is a poem of fourteen lines, which as a rule follow a fixed pattern of rhymes."),
    (
        "who built the eiffel tower",
        "The Eiffel Tower was built by the company of the engineer Gustave Eiffel, and was finished in 1889.",
    ),
)


def harness_prompt(example: Example) -> str:
    """The prompt of the task that ships in recipes/lm_eval, since the harness has none for this set."""
    shots = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in _HARNESS_SHOTS)
    return f"{shots}Question: {example.question}\nAnswer:"


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
