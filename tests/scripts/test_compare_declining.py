"""R-Tuning and TruthRL beside a run, as a user starts it, after a run on a tiny saved model and the samples."""

import json
from pathlib import Path
from zlib import crc32

import pytest

from data.judge import Verdict
from eavss.confidence import Calibration
from scripts.compare_declining import run
from train.contrastive import run as train
from train.recipe.arguments import REPOSITORY

WORDS = {
    **{"--config": str(REPOSITORY / "recipes/honest.yaml"), "--dtype": "float32", "--layers": "2 3"},
    **{"--datasets_root": "samples", "--decline_labels": "judged", "--dataset": "nq", "--retention": "none"},
    **{"--score_questions": "8", "--train_questions": "12", "--eval_limit": "6", "--evaluate_on": "nq truthfulqa"},
    **{"--max_steps": "12", "--save_strategy": "no", "--learning_rate": "1e-2", "--per_device_train_batch_size": "2"},
    **{"--calibration_questions": "6", "--max_length": "400"},
}


@pytest.fixture(scope="module")
def folder(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose judge finds a part of what a random model writes right."""

    def judge(answer: str, aliases: object, question: str = "") -> Verdict:
        return "right" if crc32(answer.encode()) % 3 == 0 else "wrong"

    output = tmp_path_factory.mktemp("honest") / "run"
    words = WORDS | {"--model_name_or_path": str(saved_model), "--output_dir": str(output)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.evaluation.answered.judge", judge)
        assert train([word for key, value in words.items() for word in (key, *value.split())]) == 0
    return output


def test_a_run_that_learns_to_decline_leaves_its_answers_and_its_calibration(folder: Path) -> None:
    own = [json.loads(line) for line in (folder / "own_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["right"] for row in own} == {True, False}
    results = json.loads((folder / "results.json").read_text())
    weights = results["train"]["loss_weights"]
    assert (weights["decline"], weights["decline_ce"]) == (0.0, 1.0)
    logs = [entry for entry in results["train"]["log"] if "loss/decline" in entry]
    assert all("loss/dpo" not in entry and 0 <= entry["decline/accuracies"] <= 1 for entry in logs)
    assert Calibration.read(folder / "adapter").dataset == "nq"


@pytest.mark.slow
def test_the_rivals_are_trained_and_asked_beside_the_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rivals", "rtuning", "truthrl", "--grpo_steps", "1", "--learning_rate", "1e-3"]
    assert run([str(folder), "--output_dir", str(tmp_path / "rival"), *words]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if line.startswith("nq ")]
    assert [row[1] for row in rows] == ["base", "run", "R-Tuning", "TruthRL"]
    for row in rows:
        assert sum(map(float, row[3:7])) == pytest.approx(1, abs=2e-3)
    assert "steps of 2, which cost what the run cost" in printed
    assert "TruthRL from R-Tuning on 12 questions: 1 steps of 2 questions with 8 samples each" in printed
    assert (tmp_path / "rival" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "rival" / "truthrl" / "adapter" / "adapter_model.safetensors").is_file()


def test_truthrl_can_begin_from_the_base_that_is_asked_to_decline(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rivals", "truthrl", "--grpo_steps", "1", "--ask_to_decline", "true", "--eval_limit", "2"]
    assert run([str(folder), "--output_dir", str(tmp_path / "rival"), *words]) == 0
    printed = capsys.readouterr().out
    assert [row.split()[1] for row in printed.splitlines() if row.startswith("nq ")] == ["base", "run", "TruthRL"]
    assert "TruthRL from the base" in printed
    assert "TFLOPs, sampling included" in printed


def test_mistakes_are_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([str(tmp_path), "--output_dir", str(tmp_path / "a")], "is not the folder of a finished run"),
        ([str(folder)], "command line: --output_dir should name a folder for the rivals' adapters"),
        ([str(folder), "--output_dir", "a", "--rivals", "truthrl"], "add rtuning, or --ask_to_decline true"),
        ([str(folder), "--output_dir", "a", "--rivals", "grpo"], "invalid choice: 'grpo'"),
        ([str(folder), "--output_dir", "a", "--grpo_steps", "0"], "--grpo_steps: 0 should be 1 or more"),
        ([str(folder), "--output_dir", "a", "--grpo_learning_rate", "0"], "--grpo_learning_rate: 0.0 should be above"),
        ([str(folder), "--output_dir", str(folder)], "holds the run itself; name another folder"),
        (
            [str(folder), "--output_dir", str(tmp_path / "a"), "--evaluate_on", "truthfulqa"],
            "evaluate_on: ['truthfulqa'] should be nq, sciq or triviaqa, which are asked freely",
        ),
    ):
        assert run(words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
