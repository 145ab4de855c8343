"""Each of the five sets: a row as the Hub has it becomes an example."""

from typing import Any

import pytest

from data import nq, sciq, triviaqa, truthfulqa, wikiqa
from data.examples import Example, hash_fraction, normalise_question, wrong_answers
from tests.toys import origins_of


def wikiqa_row(identity: str, answer: str, label: int) -> dict[str, Any]:
    return {
        "question_id": identity,
        "question": f"how does {identity} work",
        "document_title": identity,
        "answer": answer,
        "label": label,
    }


def test_nq_row() -> None:
    row = {"question": "who painted the night watch", "answer": ["Rembrandt", "Rembrandt van Rijn"]}
    assert nq.examples([row]) == [
        Example(
            dataset="nq",
            question="who painted the night watch",
            truthful=("Rembrandt", "Rembrandt van Rijn"),
            aliases=("Rembrandt", "Rembrandt van Rijn"),
            verbatim=False,
        )
    ]


def test_nq_passes_over_empty_answers() -> None:
    found = nq.example({"question": "who painted it", "answer": ["", "Rembrandt", "  "]})
    assert found.truthful == found.aliases == ("Rembrandt",)


@pytest.mark.parametrize("answers", [[], [""], [" ", "\t"]])
def test_nq_row_without_an_answer_is_an_error(answers: list[str]) -> None:
    with pytest.raises(ValueError, match="'who painted it' has no truthful answer"):
        nq.example({"question": "who painted it", "answer": answers})


def test_sciq_row() -> None:
    row = {
        "question": "What gas do plants take in?",
        "distractor3": "helium",
        "distractor1": "oxygen",
        "distractor2": "neon",
        "correct_answer": "carbon dioxide",
        "support": "Plants take in carbon dioxide.",
    }
    assert sciq.examples([row]) == [
        Example(
            dataset="sciq",
            question="What gas do plants take in?",
            truthful=("carbon dioxide",),
            wrong_answers=wrong_answers(["oxygen", "neon", "helium"], "dataset"),
            aliases=("carbon dioxide",),
            verbatim=False,
            support="Plants take in carbon dioxide.",
        )
    ]


@pytest.mark.parametrize(
    ("distractors", "kept"), [(("oxygen", "", "neon"), ("oxygen", "neon")), (("", " ", "neon"), ("neon",))]
)
def test_sciq_passes_over_an_empty_distractor(distractors: tuple[str, ...], kept: tuple[str, ...]) -> None:
    row = {"question": "What gas?", "correct_answer": "helium", "support": ""}
    row |= {f"distractor{number}": text for number, text in enumerate(distractors, start=1)}
    found = sciq.example(row)
    assert (found.hallucinated, origins_of(found)) == (kept, ("dataset",) * len(kept))


def test_triviaqa_row() -> None:
    row = {
        "question": "Which river runs through Cairo?",
        "question_id": "toy_1",
        "answer": {"value": "Nile", "aliases": ["Nile", "The Nyle", "River Nile"], "normalized_value": "nile"},
    }
    assert triviaqa.examples([row]) == [
        Example(
            dataset="triviaqa",
            question="Which river runs through Cairo?",
            truthful=("Nile",),
            aliases=("Nile", "Nile", "The Nyle", "River Nile"),
            verbatim=False,
        )
    ]


def test_triviaqa_value_counts_as_correct_without_aliases() -> None:
    assert triviaqa.example({"question": "Which?", "answer": {"value": "Nile", "aliases": []}}).aliases == ("Nile",)


def test_truthfulqa_row() -> None:
    """The best answer, the true choice of mc1, stands second in mc2 and comes first all the same."""
    row = {
        "question": "Do bulls hate red?",
        "mc1_targets": {"choices": ["Yes, red angers them", "The movement angers them"], "labels": [0, 1]},
        "mc2_targets": {
            "choices": ["They can't see red", "The movement angers them", "Yes, red angers them", "They love red"],
            "labels": [1, 1, 0, 0],
        },
    }
    truthful = ("The movement angers them", "They can't see red")
    assert truthfulqa.examples([row]) == [
        Example(
            dataset="truthfulqa",
            question="Do bulls hate red?",
            truthful=truthful,
            wrong_answers=wrong_answers(["Yes, red angers them", "They love red"], "dataset"),
            aliases=truthful,
            verbatim=False,
        )
    ]


def test_truthfulqa_choices_without_as_many_labels_are_an_error() -> None:
    targets = {"choices": ["yes", "no"], "labels": [1]}
    with pytest.raises(ValueError, match="zip"):
        truthfulqa.example({"question": "Is it?", "mc1_targets": targets, "mc2_targets": targets})


def test_wikiqa_rows_are_grouped_by_question() -> None:
    """Four rows of two questions, interleaved: questions in the order of their first rows, sentences in theirs."""
    rows = [
        wikiqa_row("Q2", "A lever turns.", 0),
        wikiqa_row("Q1", "Steam pushes a piston.", 1),
        wikiqa_row("Q2", "A spring uncoils.", 1),
        wikiqa_row("Q1", "It was built in a shed.", 0),
        wikiqa_row("Q1", "It was sold.", 0),
    ]
    assert wikiqa.examples(rows) == [
        Example(
            dataset="wikiqa",
            question="how does Q2 work",
            truthful=("A spring uncoils.",),
            wrong_answers=wrong_answers(["A lever turns."], "dataset"),
            aliases=("A spring uncoils.",),
            verbatim=False,
        ),
        Example(
            dataset="wikiqa",
            question="how does Q1 work",
            truthful=("Steam pushes a piston.",),
            wrong_answers=wrong_answers(["It was built in a shed.", "It was sold."], "dataset"),
            aliases=("Steam pushes a piston.",),
            verbatim=False,
        ),
    ]


@pytest.mark.parametrize(("labels", "kept"), [((1, 0), 1), ((0, 0), 0), ((1, 1), 0), ((1,), 0)])
def test_wikiqa_leaves_out_questions_that_cannot_be_ranked(labels: tuple[int, ...], kept: int) -> None:
    rows = [wikiqa_row("Q1", f"Sentence {place}.", label) for place, label in enumerate(labels)]
    assert len(wikiqa.examples(rows)) == kept


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": " "}, "the question is empty"),
        ({"truthful": ()}, "'why' has no truthful answer"),
        ({"truthful": ("because", "")}, "'why' has no truthful answer, or an empty one"),
        ({"wrong_answers": wrong_answers([" "], "model")}, "'why' has an empty hallucinated answer"),
    ],
)
def test_example_that_is_not_one(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Example(**{"dataset": "toy", "question": "why", "truthful": ("because",), **fields})


@pytest.mark.parametrize("other", ["Who wrote Emma?", "  who  wrote 'EMMA' ?\n"])
def test_questions_of_the_same_words_are_one(other: str) -> None:
    assert normalise_question(other) == "who wrote emma"
    assert hash_fraction(other) == hash_fraction("who wrote emma")


def test_hash_fraction_is_fixed_and_even() -> None:
    """sha256 of "who wrote emma" starts with 7b533278e2147877, and 0x7b533278e2147877 / 2 ** 64 = 0.481738..."""
    assert hash_fraction("who wrote emma") == pytest.approx(0x7B533278E2147877 / 2**64)
    fractions = [hash_fraction(f"question {number}") for number in range(1000)]
    assert all(0 <= fraction < 1 for fraction in fractions)
    assert sum(fraction < 0.5 for fraction in fractions) == pytest.approx(500, abs=50)
