"""The record of a question, and the lines of `training_examples.jsonl` that it becomes."""

import json

import pytest

from data.examples import Example, WrongAnswer

EXAMPLE = Example(
    "sciq",
    "What gas?",
    truthful=("helium",),
    wrong_answers=(WrongAnswer("neon", "dataset"), WrongAnswer("argon", "model")),
    aliases=("helium", "He"),
    support="It is helium.",
)


def test_a_line_has_the_keys_of_earlier_runs_and_is_read_back() -> None:
    line = json.dumps(EXAMPLE.to_json())
    assert list(json.loads(line).items()) == [
        ("dataset", "sciq"),
        ("question", "What gas?"),
        ("truthful", ["helium"]),
        ("hallucinated", ["neon", "argon"]),
        ("origins", ["dataset", "model"]),
        ("aliases", ["helium", "He"]),
        ("verbatim", False),
        ("support", "It is helium."),
    ]
    assert Example.from_json(json.loads(line)) == EXAMPLE


def test_a_line_with_an_answer_but_no_origin_is_refused() -> None:
    row = EXAMPLE.to_json() | {"origins": ["dataset"]}
    with pytest.raises(ValueError, match="zip"):
        Example.from_json(row)


def test_a_line_without_a_key_is_refused() -> None:
    with pytest.raises(KeyError, match="truthful"):
        Example.from_json({"dataset": "sciq", "question": "What gas?"})
