"""Evaluation questions are found in prompts in other letters, inside templates and in earlier turns."""

import pytest

from data.examples import Example
from data.leaks import QuestionFinder

LONG, SHORT = "Who wrote the novel 'Emma' and when?", "Who wrote Emma?"
FINDER = QuestionFinder([LONG, SHORT, "What is the capital of the country that borders on both?", "?"])


def found(question: str, *history: tuple[str, str]) -> set[str]:
    return FINDER.within(Example("own", question, ("x",), history=history))


def test_a_question_without_words_is_none() -> None:
    assert len(FINDER) == 3


@pytest.mark.parametrize(
    ("prompt", "questions"),
    [
        ("who wrote  emma", {"who wrote emma"}),
        ("Question: Who wrote Emma?\nAnswer:", {"who wrote emma"}),
        ("Be brief.\n\nHuman: WHO WROTE EMMA\n\nAssistant:", {"who wrote emma"}),
        ("Tell me who wrote Emma?", set()),
        ("Who wrote Emma? And who read it?", set()),
        ("Tell me: who wrote the novel Emma, and when?", {"who wrote the novel emma and when"}),
        ("Who wrote the novel\n Emma and when", {"who wrote the novel emma and when"}),
        ("Who wrote the novel Emma and why?", set()),
        ("", set()),
    ],
)
def test_where_a_question_is_found(prompt: str, questions: set[str]) -> None:
    assert found(prompt or "x") == questions


def test_what_the_user_said_before_is_looked_at_and_answers_are_not() -> None:
    assert found("When?", (SHORT, "x")) == {"who wrote emma"}
    assert found("When?", ("x", SHORT)) == set()
