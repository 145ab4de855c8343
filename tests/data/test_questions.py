"""A user's own questions with right answers alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from data import questions
from data.errors import DataError
from data.examples import Example
from data.sources import DataSource

Row = dict[str, Any]


def test_rows_of_one_question_are_one_example_with_all_answers() -> None:
    rows = [
        {"prompt": "Who wrote Emma?", "answers": ["Jane Austen", "Austen"]},
        {"prompt": "Who wrote Dracula?", "answers": "Bram Stoker"},
        {"prompt": "Who wrote Emma?", "answers": ["Jane Austen", "J. Austen", " "]},
        {"prompt": "Who wrote Emma?", "answers": "Jane Austen", "passage": " Jane Austen wrote it. "},
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}], "answers": ["I"]},
    ]
    answers = ("Jane Austen", "Austen", "J. Austen")
    assert questions.examples(rows, "own") == [
        Example("own", "Who wrote Emma?", answers, aliases=answers),
        Example("own", "Who wrote Dracula?", ("Bram Stoker",), aliases=("Bram Stoker",)),
        Example("own", "Who wrote Emma?", answers[:1], aliases=answers[:1], support="Jane Austen wrote it."),
        Example("own", "Who?", ("I",), aliases=("I",), system="Be brief."),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answers": ["x"]}, "no prompt; each row needs a prompt and answers"),
        ({"prompt": "Who?", "answers": []}, "answers is [], of type list, where a right answer or a list"),
        ({"prompt": "Who?", "answers": [" "]}, "where a right answer or a list of some would be right"),
        ({"prompt": "Who?", "answers": 7}, "answers is 7, of type int"),
        ({"prompt": "Who?", "answers": "x", "passage": 7}, "passage is 7, of type int"),
        ({"prompt": "Who?", "answers": ["x", 7]}, "value 2 of answers is 7, of type int"),
        ({"prompt": 7, "answers": ["x"]}, "prompt is 7, of type int"),
        ({"prompt": " ", "answers": ["x"]}, "the question is empty"),
    ],
)
def test_a_fault_is_told_with_its_row(row: Row, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    good = {"prompt": "Who wrote Emma?", "answers": ["Jane Austen"]}
    path.write_text("".join(json.dumps(each) + "\n" for each in (good, row)))
    with pytest.raises(DataError) as caught:
        DataSource(evaluation_share=0.5).split(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["own.jsonl", "own.json"])
def test_a_file_of_questions_is_known_by_its_column(name: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"Who wrote book {n}?", "answers": [f"author {n}"]} for n in range(20)]
    content = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / name).write_text(content)
    split = DataSource(evaluation_share=0.5).split(str(tmp_path / name))
    assert len(split.train) + len(split.evaluation) == 20
    assert all(not example.hallucinated and not example.verbatim for example in split.train)
