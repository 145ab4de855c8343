"""Ways to heal a cut, compared as a user does, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from eavss.batches import TokenSequence
from scripts.compare_healing import METHODS, curve_table, run, student_of
from tests.toys import tiny_model
from train.recipe.settings import LoraSettings

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--dataset", "sciq", "--train_questions", "4"]
SMALL = ["--texts", "4", "--max_steps", "3", "--eval_limit", "2", "--evaluate_on", "sciq", "--free_answers", "false"]


def compare(model: Path, folder: Path, *words: str) -> int:
    (folder / "cut").mkdir(exist_ok=True)
    (folder / "cut" / "cut.json").write_text(json.dumps({"model": str(model), "removed": [1, 2]}))
    common = ["--model_name_or_path", str(model), "--cut", str(folder / "cut"), "--output_dir", str(folder / "out")]
    return run([*common, "--json", str(folder / "h.json"), "--save_strategy", "no", *WORDS, *SMALL, *words])


@pytest.mark.slow
def test_each_method_heals_and_is_measured_on_the_way(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(saved_model, tmp_path, "--curve", "0", "3") == 0
    found = json.loads((tmp_path / "h.json").read_text())
    assert [figures["method"] for figures in found] == list(METHODS)
    assert [figures["learning_rate"] for figures in found] == [1e-3, 1e-4, 1e-4]
    assert [[point["steps"] for point in figures["curve"]] for figures in found] == [[0, 3]] * 3
    assert all(len(figures["removed"]) == 2 for figures in found)
    assert len({figures["trained_parameters"] for figures in found}) == 3
    table = curve_table(found)
    assert table in capsys.readouterr().out
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        "| (whole)",
        *(f"| {method}" for method in METHODS for _ in range(2)),
    ]


def test_as_many_blocks_go_by_each_method() -> None:
    texts = [TokenSequence((3, 4, 5, 6), 1, 4), TokenSequence((7, 8, 9), 1, 3)]
    for method, removed in (("lora", [0, 2]), ("last_blocks", [2, 3])):
        student = student_of(method, tiny_model("llama"), [0, 2], LoraSettings(), texts)  # type: ignore[arg-type]
        assert student.removed == removed
    student = student_of("replaced_run", tiny_model("llama"), [0, 2], LoraSettings(), texts)
    assert student.removed in ([1, 2], [2, 3])


def test_mistakes(saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--methods", "lora"], "--learning_rates: 3 should be one for each method"),
        (["--texts", "0"], "--texts: 0 should be 1 or more"),
        (["--methods", "magic"], "invalid choice: 'magic'"),
    ):
        assert compare(saved_model, tmp_path, *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "h.json").exists()
