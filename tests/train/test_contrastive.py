"""The job's mistakes, each found before anything is trained. Whole runs are in tests/jobs."""

from pathlib import Path

import pytest

from train import contrastive
from train.recipe.arguments import REPOSITORY


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--dataset": "trivia"}, "dataset: 'trivia' is neither one of nq"),
        ({"--layers": "2 30"}, "layers: [30] lie outside the model's blocks, which are 0 to 3"),
        ({"--resume_from_checkpoint": "true"}, "resume_from_checkpoint: there is no whole checkpoint in"),
        (
            {"--model_name_or_path": "outputs/models/none"},
            "model_name_or_path: no folder outputs/models/none; give a folder or a Hub id",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_writes_nothing(
    options: dict[str, str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"--config": str(REPOSITORY / "recipes/demo.yaml"), "--output_dir": str(tmp_path / "run")}
    small = {
        "--model_name_or_path": str(saved_model),
        "--score_questions": "8",
        "--eval_limit": "4",
        "--dtype": "float32",
    }
    words = [word for key, value in (common | small | options).items() for word in (key, *value.split())]
    assert contrastive.run(words) == 2
    printed = capsys.readouterr()
    assert printed.err.count("error: ") == 1
    assert f"error: {message}" in printed.err
    assert "Traceback" not in printed.out + printed.err
    assert not (tmp_path / "run").exists()
