"""Two evaluations compared, against values worked by hand, and written question by question."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from train.evaluation.compare import compare_evaluations, write_items
from train.evaluation.evaluate import Evaluation
from train.evaluation.records import QuestionRecord


def toy_record(right: float, hidden: float, per_token: Sequence[float]) -> QuestionRecord:
    return {
        "question": "q",
        "metrics": {"contrast_accuracy": right},
        "hidden": {"contrast_accuracy": hidden},
        "per_token": {"metrics": list(per_token), "hidden": [-1.0, -1.0]},
        "length_rule": {"longest_contrast": 0.5},
    }


def test_a_change_by_hand() -> None:
    """Of four questions none was right and all are now: +1, with no doubt, 4 of 4 won: p = 2 / 2^4.
    Hidden nothing changes. WikiText's perplexity goes from 20 to 25."""
    before = Evaluation(
        {"nq": [toy_record(0, 0, (-2, -1))] * 4}, {"nq": "validation"}, {"wikitext": {"n": 2, "perplexity": 20.0}}
    )
    after = Evaluation(
        {"nq": [toy_record(1, 0, (-1, -2))] * 4}, {"nq": "validation"}, {"wikitext": {"n": 2, "perplexity": 25.0}}
    )
    found = compare_evaluations(before, after, seed=0)
    assert found["benchmarks"]["nq"] == {
        "split": "validation",
        "n": 4,
        "before": {"contrast_accuracy": 0},
        "after": {"contrast_accuracy": 1},
        "change": {"contrast_accuracy": {"difference": 1, "interval": [1, 1], "mcnemar_p": 0.125, "noise": False}},
        "hidden": {
            "before": {"contrast_accuracy": 0},
            "after": {"contrast_accuracy": 0},
            "change": {"contrast_accuracy": {"difference": 0, "interval": [0, 0], "mcnemar_p": 1, "noise": True}},
            "gained": {"contrast_accuracy": {"difference": 1, "interval": [1, 1], "mcnemar_p": 0.125, "noise": False}},
        },
        "length_rule": {"longest_contrast": 0.5},
    }
    assert found["retention"] == {
        "wikitext": {"before": {"n": 2, "perplexity": 20.0}, "after": {"n": 2, "perplexity": 25.0}}
    }


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nq", "nq.jsonl"),
        ("owner/set", "owner_set.jsonl"),
        ("../../x/y", "_.._x_y.jsonl"),
        ("/etc/passwd", "_etc_passwd.jsonl"),
        ("..", "_.jsonl"),
        (".hidden", "hidden.jsonl"),
        ("a\\b\nc d", "a_b_c_d.jsonl"),
        ("größe", "größe.jsonl"),
    ],
)
def test_items_stay_inside_their_folder(name: str, file: str, tmp_path: Path) -> None:
    """And a line is a line, whatever the question holds."""
    record = toy_record(1, 1, (-1, -2)) | {"question": "two\nlines\u2028or three, naïve"}
    folder = tmp_path / "a" / "b" / "items"
    write_items(folder, {"run": Evaluation({name: [record]}, {name: "test"}, {})})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / file]
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert "naïve" in text
    assert json.loads(text) == {"question": record["question"], "run": record}
