"""Pairs that a model writes itself: which answers can be used, and a tiny model that writes."""

import pytest

from data.examples import Example
from data.preferences import examples
from eavss.asking import SHOTS
from tests.toys import tiny_model, tiny_tokenizer
from train.base.self_written_pairs import Lacking, PairWriter, is_degenerate, prompt, usable_pair

QUESTION = "Where do penguins live?"
TRUE = "Penguins live in the south."
QUESTIONS = [Example("toy", f"what is number {i}", ("one",), system="Be brief." * (i % 2)) for i in range(3)]


def test_the_prompt_shows_two_answers_to_each_question_and_then_the_true_one() -> None:
    first = prompt(QUESTION)
    assert first.count("True answer: ") == first.count("Made-up answer: ") == len(SHOTS)
    assert first.endswith("\n\nQuestion: Where do penguins live?\nTrue answer:")
    assert prompt(QUESTION, TRUE) == f"{first} {TRUE}\nMade-up answer:"


@pytest.mark.parametrize(
    "text",
    [
        "Penguins live in the",
        "South.",
        "Where do penguins live.",
        "In the sea. Question: where.",
        "They live in the sea and live in the sea.",
        "I don't know.",
        "A violin has seven strings.",
    ],
)
def test_degenerate_answers(text: str) -> None:
    assert is_degenerate(QUESTION, text)


def test_an_answer_in_a_sentence_is_none() -> None:
    assert not is_degenerate(QUESTION, TRUE)


@pytest.mark.parametrize(
    ("true", "made_up", "found"),
    [
        (TRUE, ["They live on the moon."], (TRUE, "They live on the moon.")),
        (TRUE, ["", "On", "penguins live in the South!", "In Peru.", "In Rome."], (TRUE, "In Peru.")),
        (TRUE, ["penguins live in the South!"], "equal"),
        (TRUE, ["", ""], "empty"),
        ("", ["In Peru."], "empty"),
        ("South", ["In Peru."], "degenerate"),
        (TRUE, ["", "Peru"], "degenerate"),
    ],
)
def test_the_first_usable_answer_beside_the_true_one_is_taken(
    true: str, made_up: list[str], found: tuple[str, str] | Lacking
) -> None:
    assert usable_pair(QUESTION, true, made_up) == found


def test_what_a_model_writes_becomes_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    # A random model writes no sentences.
    monkeypatch.setattr("train.base.self_written_pairs.is_degenerate", lambda _question, text: not text)

    writer = PairWriter(tiny_model("llama"), tiny_tokenizer(), 10_000, seed=0)
    rows, lacking = writer(QUESTIONS)
    assert rows
    assert len(rows) + sum(lacking.values()) == len(QUESTIONS)
    assert writer(QUESTIONS) == (rows, lacking)
    read = examples(rows, "pairs.jsonl")
    assert {(e.question, e.system) for e in read} <= {(e.question, e.system) for e in QUESTIONS}
    assert [(e.truthful, e.hallucinated) for e in read] == [
        ((row["chosen"][0]["content"],), (row["rejected"][0]["content"],)) for row in rows
    ]
    assert not any(e.verbatim for e in read)
