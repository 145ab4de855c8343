"""The record of a question, and the lines of `training_examples.jsonl` that it becomes."""

import json
from dataclasses import replace

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
        ("system", ""),
        ("history", []),
        ("pairs", []),
    ]
    assert Example.from_json(json.loads(line)) == EXAMPLE


def test_pairs_and_a_system_message_are_read_back_and_lines_of_earlier_runs_have_neither() -> None:
    paired = replace(EXAMPLE, system="Be brief.", history=(("Who?", "I."),), pairs=(("helium", "argon"),))
    row = json.loads(json.dumps(paired.to_json()))
    assert Example.from_json(row) == paired
    assert paired.contrasts == [("helium", "argon")]
    assert EXAMPLE.contrasts == [("helium", "neon"), ("helium", "argon")]
    del row["system"], row["history"], row["pairs"]
    assert Example.from_json(row) == EXAMPLE


def test_a_pair_of_other_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="a pair of answers that are not its own"):
        replace(EXAMPLE, pairs=(("neon", "argon"),))


def test_a_line_with_an_answer_but_no_origin_is_refused() -> None:
    row = EXAMPLE.to_json() | {"origins": ["dataset"]}
    with pytest.raises(ValueError, match="zip"):
        Example.from_json(row)


def test_a_line_without_a_key_is_refused() -> None:
    with pytest.raises(KeyError, match="truthful"):
        Example.from_json({"dataset": "sciq", "question": "What gas?"})
