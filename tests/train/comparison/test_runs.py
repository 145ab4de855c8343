"""What several runs came to together, from folders small enough to work out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.summarise_runs import run as command
from train.comparison.runs import Run, cost_table, costs_of, summarise_runs, summary_table, transfer_table

BEFORE = [0.0, 1.0, 0.0, 1.0]


def write_run(folder: Path, dataset: str, seed: int, after: dict[str, list[float]], hidden_gain: float = 0.0) -> Path:
    """A run's folder with two sets at most, whose questions are the same for every seed."""
    (folder / "items").mkdir(parents=True)
    benchmarks = {}
    for name, values in after.items():
        metric = "acc" if name == "sciq" else "contrast_accuracy"
        lines = [
            {
                "question": f"{name} {number}",
                "before": {"metrics": {metric: old}, "hidden": {metric: 0.5}},
                "after": {"metrics": {metric: new}, "hidden": {metric: 0.5 + hidden_gain}},
            }
            for number, (old, new) in enumerate(zip(BEFORE, values, strict=True))
        ]
        (folder / "items" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        benchmarks[name] = {"change": {metric: {}}}
    results: dict[str, Any] = {
        "dataset": dataset,
        "benchmarks": benchmarks,
        "retention": {
            "wikitext": {"before": {"n": 2, "perplexity": 20.0}, "after": {"n": 2, "perplexity": 20.0 + seed}},
            "lambada": {"before": {"n": 2, "accuracy": 0.5}, "after": {"n": 2, "accuracy": 0.25}},
        },
        "train": {"steps": 10, "seconds": 4.0, "reading_seconds": 1.0, "flops": 3e12, "all_blocks_flops": 6e12},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "recipe.yaml").write_text(f"dataset: {dataset}\nseed: {seed}\n")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "a", "sciq", 0, {"sciq": [1.0, 1.0, 0.0, 1.0], "nq": [0.0, 0.0, 0.0, 1.0]}),
        write_run(tmp_path / "b", "sciq", 2, {"sciq": [1.0, 1.0, 1.0, 1.0]}, hidden_gain=0.25),
        write_run(tmp_path / "c", "nq", 0, {"nq": [1.0, 1.0, 0.0, 1.0]}),
    ]


def test_seeds_are_averaged_and_the_hidden_change_is_taken_off(folders: list[Path]) -> None:
    """SciQ gains .25 and .5, of which the second has .25 with the question hidden too: .25 and .25 on the question."""
    rows = summarise_runs([Run.read(folder) for folder in folders])
    assert [(row["trained_on"], row["set"]) for row in rows] == [("sciq", "sciq"), ("sciq", "nq"), ("nq", "nq")]
    first = rows[0]
    assert (first["metric"], first["seeds"], first["n"]) == ("acc", 2, 4)
    assert (first["before"], first["after"], first["change"], first["gained"]) == (0.5, 0.875, 0.375, 0.25)
    assert first["interval"][0] <= 0.375 <= first["interval"][1]
    assert (rows[1]["seeds"], rows[1]["change"]) == (1, -0.25)


def test_a_metric_without_a_hidden_control_has_no_gain_on_the_question(folders: list[Path]) -> None:
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
    """Three seeds with equal changes tell as much about the questions as one does."""
    changed = {"nq": [1.0, 1.0, 0.0, 1.0]}
    runs = [Run.read(write_run(tmp_path / str(seed), "nq", seed, changed)) for seed in range(3)]
    assert summarise_runs(runs)[0]["interval"] == summarise_runs(runs[:1])[0]["interval"]


def test_tables_say_points_noise_and_what_was_kept(folders: list[Path]) -> None:
    runs = [Run.read(folder) for folder in folders]
    rows = summarise_runs(runs)
    assert "| sciq | sciq | acc | 2 | 4 | 0.500 | 0.875 | +37.5 |" in summary_table(rows)
    assert transfer_table(rows).splitlines()[-2:] == [
        "| sciq | +37.5 ~ (+25.0) | -25.0 ~ (-25.0) |",
        "| nq |  | +25.0 ~ (+25.0) |",
    ]
    kept = cost_table(costs_of(runs)).splitlines()
    assert kept[0].endswith("| wikitext perplexity | lambada accuracy |")
    assert kept[2] == "| sciq | 10 | 5 | 3.0 | 50% | +5.0% | -25.0 points |"


def test_the_command_prints_and_writes_them(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "summary.json"
    assert command([*map(str, folders), "--json", str(target)]) == 0
    assert "| sciq | sciq | acc |" in capsys.readouterr().out
    assert json.loads(target.read_text())["costs"][0]["trained_on"] == "sciq"


def test_mistakes_are_told(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    assert command([str(folders[0]), str(folders[0])]) == 2
    assert "has the data set and seed of another run" in capsys.readouterr().err
    (folders[2] / "items" / "nq.jsonl").write_text("{")
    assert command([str(folders[2])]) == 2
    assert "does not hold the questions" in capsys.readouterr().err
