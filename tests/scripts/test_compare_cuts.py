"""Every criterion at several shares, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts import compare_cuts
from scripts.compare_cuts import run

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--eval_limit", "3", "--score_questions", "4"]
WORDS += ["--free_answers", "false", "--evaluate_on", "nq", "truthfulqa"]


def compare(model: Path, path: Path, *words: str) -> int:
    return run(["--model_name_or_path", str(model), "--json", str(path), *WORDS, *words])


def test_what_is_in_the_file_is_not_measured_again(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cuts.json"
    assert compare(saved_model, path, "--by", "last", "random", "--shares", "0.25", "0.5") == 0
    cuts = json.loads(path.read_text())
    assert [(cut["by"], cut["share"]) for cut in cuts] == [
        ("last", 0.25),
        ("random", 0.25),
        ("last", 0.5),
        ("random", 0.5),
    ]
    assert cuts[0]["removed"] == [3]
    assert cuts[2]["removed"] == [2, 3]
    assert {row["set"] for row in cuts[0]["kept"]} == {"nq", "truthfulqa"}
    assert cuts[0]["kept"][0]["whole"] == cuts[2]["kept"][0]["whole"]
    table = capsys.readouterr().out.split("| removed by ")[-1]
    assert table.count("\n| last |") == table.count("\n| random |") == 2
    removed: list[object] = []
    monkeypatch.setattr(compare_cuts, "remove_blocks", lambda *words: removed.append(words))
    assert compare(saved_model, path, "--by", "last", "--shares", "0.25", "0.5") == 0
    assert removed == []
    assert json.loads(path.read_text()) == cuts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shares", "0.5", "1"], "--shares: 1.0 should be above 0 and below 1"),
        (["--by", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_a_users_mistake_is_one_line(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(saved_model, tmp_path / "cuts.json", *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "cuts.json").exists()


@pytest.mark.parametrize("content", ["{", "3", '[{"by": "last"}]', "[1]"])
def test_a_file_of_something_else_is_left_alone(
    content: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cuts.json"
    path.write_text(content)
    assert compare(saved_model, path) == 2
    assert "holds no figures of cuts" in capsys.readouterr().err
    assert path.read_text() == content
