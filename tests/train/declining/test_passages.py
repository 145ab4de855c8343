"""What the base should say with the passage of a question, and with another one."""

from collections.abc import Sequence
from typing import cast

import pytest

from data.examples import Example
from eavss.confidence import confidence_of
from train.declining.own_answers import OwnAnswer
from train.declining.passages import answers_by_passage
from train.evaluation.free_answers import FreeAnswer, FreeAnswers
from train.runtime.errors import RecipeError

ANSWERS = ("tin", "lead", "zinc", "gold")
EXAMPLES = [
    Example("sciq", f"what is {number}", (answer,), aliases=(answer,), support=f"It is {answer}.")
    for number, answer in enumerate(ANSWERS)
]
# What the base says to each question: with its own passage, and with another.
OWN = {"what is 0": "tin", "what is 1": "iron", "what is 2": "", "what is 3": "gold"}
OTHER = {"what is 0": "silver", "what is 1": "lead", "what is 2": "I don't know", "what is 3": ""}


class Base:
    """Answers by the question and by whether the passage is its own."""

    def __call__(self, examples: Sequence[Example], _description: str) -> list[FreeAnswer]:
        texts = [(OWN if each.truthful[0] in each.support else OTHER)[each.question] for each in examples]
        return [FreeAnswer(text, confidence_of([-1.0]) if text else None) for text in texts]


def answered(examples: Sequence[Example]) -> list[OwnAnswer]:
    return answers_by_passage(cast(FreeAnswers, Base()), examples, seed=0)


def test_it_should_answer_from_its_passage_and_decline_with_another() -> None:
    bare = Example("sciq", "what is 9", ("salt",), aliases=("salt",))
    found = [
        (each.example.question, each.text, each.right, each.known, each.example.truthful[0] in each.example.support)
        for each in answered([*EXAMPLES, bare])
    ]
    assert found == [
        ("what is 0", "tin", True, True, True),
        ("what is 1", "lead", False, True, True),  # it said iron: a right answer takes its place
        ("what is 2", "zinc", False, True, True),  # it said nothing
        ("what is 3", "gold", True, True, True),
        ("what is 0", "silver", False, False, False),
        ("what is 1", "lead", True, None, False),  # right without its passage: uncertain
    ]


def test_one_question_alone_has_no_other_passage() -> None:
    with pytest.raises(RecipeError, match="decline_labels: 1 training questions have a passage"):
        answered(EXAMPLES[:1])
