"""WikiQA: search-engine questions with the sentences of a Wikipedia page, which answer the question or do not.

Yang et al., 2015. https://huggingface.co/datasets/microsoft/wiki_qa, Microsoft research licence: research only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data.columns import as_label, text
from data.dataset import DataSet
from data.examples import Example, wrong_answers

_NAME = "wikiqa"

# Three questions of our own, with answers in the style of an encyclopaedia. They stand before every question, like the
# six of TruthfulQA's authors. docs/lab-notebook.md has the trial without them.
_HARNESS_SHOTS = (
    ("how long is a day on mars", "A day on Mars lasts 24 hours and 37 minutes, a little longer than a day on Earth."),
    ("what is a sonnet", "A sonnet is a poem of fourteen lines, which as a rule follow a fixed pattern of rhymes."),
    (
        "who built the eiffel tower",
        "The Eiffel Tower was built by the company of the engineer Gustave Eiffel, and was finished in 1889.",
    ),
)


@dataclass(frozen=True)
class Candidates:
    """A question with the sentences of its page.

    Args:
        question: the question.
        right: the sentences that answer it; empty for two questions in three.
        wrong: those that do not.
    """

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def candidates(rows: Iterable[Mapping[str, Any]]) -> list[Candidates]:
    """Group rows {"question_id": "Q1", "question": ..., "answer": <sentence>, "label": 0 or 1} by question."""
    questions: dict[str, str] = {}
    sentences: dict[str, tuple[list[str], list[str]]] = {}
    for row in rows:
        key, label = text(row, "question_id"), as_label(row["label"], "label")
        questions.setdefault(key, text(row, "question"))
        sentences.setdefault(key, ([], []))[label].append(text(row, "answer"))
    return [Candidates(questions[key], tuple(right), tuple(wrong)) for key, (wrong, right) in sentences.items()]


def examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Make an example from each question of the rows (`candidates`).

    Questions without a correct sentence, or with correct ones only, are left out, as is usual for this set.
    """
    return [
        Example(_NAME, each.question, each.right, wrong_answers(each.wrong, "dataset"), aliases=each.right)
        for each in candidates(rows)
        if each.right and each.wrong
    ]


def harness_prompt(example: Example) -> str:
    """Return the prompt of the task in recipes/lm_eval; lm-evaluation-harness itself has none for this set."""
    shots = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in _HARNESS_SHOTS)
    return f"{shots}Question: {example.question}\nAnswer:"


SET = DataSet(
    name=_NAME,
    hub_id="microsoft/wiki_qa",
    config="default",
    train_split="train",
    validation_split="validation",
    test_split="test",
    examples=examples,
    leading_metric="map",
    choice_metrics="ranking",
    harness_prompt=harness_prompt,
    research_only=True,
)
