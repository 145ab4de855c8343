"""A whole run of the recipe with passages, on a tiny saved model and the samples."""

import json
from pathlib import Path

from train.contrastive import run
from train.recipe.arguments import REPOSITORY

WORDS = {
    **{"--config": str(REPOSITORY / "recipes/grounded.yaml"), "--datasets_root": "samples", "--dtype": "float32"},
    **{"--layers": "2 3", "--retention": "none", "--question_hidden": "false", "--calibration_questions": "0"},
    **{"--score_questions": "6", "--train_questions": "6", "--eval_limit": "4", "--evaluate_on": "sciq"},
    **{"--max_steps": "2", "--save_strategy": "no", "--per_device_train_batch_size": "2", "--max_length": "400"},
}


def test_a_model_is_trained_and_asked_with_own_and_other_passages(saved_model: Path, tmp_path: Path) -> None:
    words = WORDS | {"--model_name_or_path": str(saved_model), "--output_dir": str(tmp_path / "run")}
    assert run([word for key, value in words.items() for word in (key, *value.split())]) == 0
    own = [json.loads(line) for line in (tmp_path / "run/own_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["known"] for row in own} >= {True, False}
    by_question: dict[str, set[str]] = {}
    for row in own:
        by_question.setdefault(row["question"], set()).add(row["passage"])
    assert max(map(len, by_question.values())) == 2
    sciq = json.loads((tmp_path / "run/results.json").read_text())["benchmarks"]["sciq"]
    verdicts = ("right", "wrong", "declined", "empty")
    for when in ("before", "after"):
        assert sum(sciq[when][f"other_passage_{verdict}"] for verdict in verdicts) == 1
    assert sciq["change"].keys() >= {"other_passage_declined"}
