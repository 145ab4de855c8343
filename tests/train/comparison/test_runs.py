"""The sum of several runs, from folders small enough to work out by hand."""

import json
from pathlib import Path

import pytest

from tests.train.comparison.toy_runs import write_run, write_runs
from train.comparison.runs import costs_of, summarise_runs, values_of
from train.publishing.run_folder import Run


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return write_runs(tmp_path)


def test_the_values_of_a_metric(folders: list[Path]) -> None:
    values = values_of(Run.read(folders[1]).items("sciq"), "acc")
    assert {name: column.tolist() for name, column in values.items()} == {  # type: ignore[attr-defined]
        "before": [0.0, 1.0, 0.0, 1.0],
        "after": [1.0, 1.0, 1.0, 1.0],
        "hidden_before": [0.5] * 4,
        "hidden_after": [0.75] * 4,
    }


def test_seeds_are_averaged_and_the_hidden_change_is_subtracted(folders: list[Path]) -> None:
    """SciQ gains .25 and .5, of which .0 and .25 remain with the question hidden: both gain .25 specifically."""
    rows = summarise_runs([Run.read(folder) for folder in folders])
    assert [(row["trained_on"], row["set"]) for row in rows] == [("sciq", "sciq"), ("sciq", "nq"), ("nq", "nq")]
    first = rows[0]
    assert (first["metric"], first["seeds"], first["n"]) == ("acc", 2, 4)
    assert (first["before"], first["after"], first["change"], first["gained"]) == (0.5, 0.875, 0.375, 0.25)
    assert first["interval"][0] <= 0.375 <= first["interval"][1]
    assert (rows[1]["seeds"], rows[1]["change"]) == (1, -0.25)


def test_a_metric_without_a_hidden_control_has_no_question_specific_gain(folders: list[Path]) -> None:
    """As the open-book figures of SciQ."""
    items = folders[2] / "items" / "nq.jsonl"
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    for line in lines:
        line["before"]["metrics"]["open"], line["after"]["metrics"]["open"] = 0.0, 1.0
    items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = json.loads((folders[2] / "results.json").read_text())
    results["benchmarks"]["nq"]["change"]["open"] = {}
    (folders[2] / "results.json").write_text(json.dumps(results))
    rows = summarise_runs([Run.read(folders[2])], leading_only=False)
    assert [(row["metric"], row["change"], row["gained"]) for row in rows][1] == ("open", 1.0, None)


def test_the_same_questions_under_another_seed_are_no_new_questions(tmp_path: Path) -> None:
    """Three seeds with equal changes say as much about the questions as one does."""
    changed = {"nq": [1.0, 1.0, 0.0, 1.0]}
    runs = [Run.read(write_run(tmp_path / str(seed), "nq", seed, changed)) for seed in range(3)]
    assert summarise_runs(runs)[0]["interval"] == summarise_runs(runs[:1])[0]["interval"]


def test_a_metric_of_a_whole_set_is_summed_up_too(folders: list[Path]) -> None:
    """The AUROC of three right and one wrong answer; before, the wrong one is the surest, and after the least sure."""
    items = folders[2] / "items" / "nq.jsonl"
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    for number, line in enumerate(lines):
        verdict = "wrong" if number == 0 else "right"
        for when, sure in (("before", -number), ("after", number)):
            kinds = dict.fromkeys(("summed", "per_token", "first_token", "least_token"), float(sure - 9))
            line[when] |= {"verdict": verdict, "answer": "x", "confidence": kinds}
    items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = json.loads((folders[2] / "results.json").read_text())
    results["benchmarks"]["nq"]["change"]["auroc"] = {}
    (folders[2] / "results.json").write_text(json.dumps(results))
    rows = [row for row in summarise_runs([Run.read(folders[2])], leading_only=False) if row["metric"] == "auroc"]
    assert [(row["before"], row["after"], row["change"], row["interval"]) for row in rows] == [(0, 1, 1, [1, 1])]


def test_a_seed_without_a_right_answer_has_no_auroc(folders: list[Path]) -> None:
    items = folders[2] / "items" / "nq.jsonl"
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    for line in lines:
        for when in ("before", "after"):
            line[when] |= {"verdict": "wrong", "answer": "", "confidence": None}
    items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = json.loads((folders[2] / "results.json").read_text())
    results["benchmarks"]["nq"]["change"]["auroc"] = {}
    (folders[2] / "results.json").write_text(json.dumps(results))
    rows = summarise_runs([Run.read(folders[2])], leading_only=False)
    assert "auroc" not in [row["metric"] for row in rows]


def test_costs_are_means_over_the_seeds(folders: list[Path]) -> None:
    """Perplexity 20 becomes 20 and 22, which is +5% on average; accuracy falls from .5 to .25."""
    first, second = costs_of([Run.read(folder) for folder in folders])
    assert first == {
        "trained_on": "sciq",
        "steps": 10,
        "flops": 3e12,
        "all_blocks_flops": 6e12,
        "seconds": 5.0,
        "retention": {"wikitext perplexity": pytest.approx(0.05), "lambada accuracy": -0.25},
    }
    assert (second["trained_on"], second["retention"]["wikitext perplexity"]) == ("nq", 0)
