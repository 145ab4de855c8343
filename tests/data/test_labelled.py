"""Single answers with a label make pairs where a prompt has answers of both labels."""

import logging
from typing import Any

import datasets
import pytest
from trl import unpair_preference_dataset

from data import labelled, preferences

Row = dict[str, Any]


def row(prompt: str, completion: str, label: object) -> Row:
    return {"prompt": prompt, "completion": completion, "label": label}


def test_each_right_answer_is_preferred_to_each_wrong_one_wherever_the_rows_stand() -> None:
    rows = [row("p", "a", True), row("q", "x", False), row("p", "b", False), row("p", "c", True), row("q", "y", True)]
    first, second = labelled.examples(rows, "own")
    assert first.contrasts == [("a", "b"), ("c", "b")]
    assert second.contrasts == [("y", "x")]
    assert first.verbatim


@pytest.mark.parametrize("conversations", [False, True])
def test_what_trl_unpairs_is_paired_again(conversations: bool) -> None:
    def said(role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if conversations else text

    rows = [
        {"prompt": said("user", f"{n}?"), "chosen": said("assistant", "yes"), "rejected": said("assistant", f"no {n}")}
        for n in range(4)
    ]
    unpaired = unpair_preference_dataset(datasets.Dataset.from_list(rows))
    assert set(unpaired.column_names) == {"prompt", "completion", "label"}
    assert labelled.examples(unpaired, "own") == preferences.examples(rows, "own")


@pytest.mark.parametrize(("right", "wrong"), [("true", "false"), ("True", "False"), ("TRUE", "FALSE")])
def test_a_csv_files_labels_are_words(right: str, wrong: str) -> None:
    (example,) = labelled.examples([row("p", "a", right), row("p", "b", wrong)], "own")
    assert example.contrasts == [("a", "b")]


def test_what_is_left_over_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        *(row("p", "a", True), row("p", "b", False), row("p", "c", True), row("p", "c", False)),
        *(row("q", "x", True), row("q", "y", True)),
        *(row("r", "z", True), row("r", "z", False), row("r", "z", False)),
    ]
    with caplog.at_level(logging.WARNING):
        (example,) = labelled.examples(rows, "own.csv")
    assert example.contrasts == [("a", "b")]
    assert caplog.messages == [
        "own.csv: 5 rows label an answer that another row of the same prompt labels the other way, and were left out",
        "own.csv: 2 rows have no row of the same prompt and the other label beside them, and were left out",
    ]


def test_rows_that_make_no_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="of 3 rows no two have one prompt and different labels"):
        labelled.examples([row("p", "a", True), row("q", "a", False), row("p", "b", True)], "own")
