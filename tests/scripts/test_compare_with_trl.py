"""The comparison with TRL as a user runs it, after a run on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts.compare_with_trl import run
from train.contrastive import run as train
from train.recipe.arguments import REPOSITORY

WORDS = {
    **{"--config": str(REPOSITORY / "recipes/demo.yaml"), "--dtype": "float32", "--layers": "3"},
    **{"--score_questions": "8", "--train_questions": "4", "--pairs_per_question": "1", "--eval_limit": "6"},
    **{"--max_steps": "12", "--save_strategy": "no", "--learning_rate": "1e-2", "--per_device_train_batch_size": "2"},
    **{"--evaluate_on": "truthfulqa", "--lora_r": "32"},
}


@pytest.fixture(scope="module")
def folder(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trl") / "run"
    words = WORDS | {"--model_name_or_path": str(saved_model), "--output_dir": str(output)}
    assert train([word for pair in words.items() for word in pair]) == 0
    return output


@pytest.mark.slow
def test_trl_gets_the_same_questions_and_no_more_flops(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "trl.json"
    assert run([str(folder), "--learning_rate", "3e-3", "--json", str(target)]) == 0
    figures, results = json.loads(target.read_text()), json.loads((folder / "results.json").read_text())
    own = results["benchmarks"]["truthfulqa"]
    assert (figures["before"], figures["run"]["after"]) == pytest.approx((own["before"]["mc2"], own["after"]["mc2"]))
    assert (figures["n"], figures["trl"]["learning_rate"]) == (6, 3e-3)
    assert figures["trl"]["after"] not in (figures["before"], figures["run"]["after"])
    # Twelve steps on the last block pay for some, but fewer, on all four without a cache.
    assert 1 <= figures["trl"]["steps"] < 12
    assert figures["trl"]["flops"] <= figures["run"]["flops"] == results["train"]["flops"]
    assert f"{figures['trl']['steps']} steps" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err


def test_a_rate_below_zero_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path), "--learning_rate", "-1"]) == 2
    assert "--learning_rate: -1 should be above 0" in capsys.readouterr().err
