"""The job's mistakes, each found before anything is trained. Whole runs are in tests/jobs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from data.places import SAMPLES
from tests.toys import arguments
from train import contrastive
from train.recipe.arguments import REPOSITORY
from train.recipe.provenance import recipe_text
from train.resuming.callbacks import SealCheckpoints


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "many"], "invalid int value: 'many'"),
        (["--dataset", "none.jsonl"], "dataset: no file none.jsonl"),
        (["--model_name_or_path", "outputs/models/none"], "no folder outputs/models/none"),
        (["--layers", "1", "4"], r"layers: \[4\] lie outside the model's blocks, which are 0 to 3"),
        (["--evaluate_on", "nq", "--datasets_root", "none"], "no file none/truthfulqa"),
        (
            ["--retention", "sst2", "--datasets_root", str(SAMPLES), "--evaluation_split", "validation"],
            "no file .*nyu-mll/glue/sst2",
        ),
        (["--evaluation_split", "test"], "evaluation_split: truthfulqa has no test split"),
    ],
)
def test_what_can_be_told_without_the_model_is_told_at_once(
    options: list[str], message: str, saved_model: Path
) -> None:
    common = ["--config", str(REPOSITORY / "recipes/demo.yaml"), "--model_name_or_path", str(saved_model)]
    with pytest.raises(ValueError, match=message):
        contrastive.check([*common[: 2 if "--model_name_or_path" in options else 4], *options])


def test_a_mistyped_key_is_answered_before_torch_is_imported() -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "train/contrastive.py",
        "--config",
        "recipes/demo.yaml",
        "--bata",
        "3",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: command line: unknown key 'bata'; did you mean 'beta'?\n" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "yaml" in imported
    assert not {"torch", "transformers"} & imported


def test_auto_leaves_a_finished_run_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the model is loaded, which does not exist here."""
    words = ("--max_steps", "3", "--resume_from_checkpoint", "auto")
    args, training = arguments(tmp_path, *words)
    (tmp_path / "checkpoint-3").mkdir()
    state = {"global_step": 3, "max_steps": 3, "num_train_epochs": 1}
    (tmp_path / "checkpoint-3" / "trainer_state.json").write_text(json.dumps(state))
    SealCheckpoints(recipe_text(args, training), [1]).on_save(training, TrainerState(global_step=3), TrainerControl())
    (tmp_path / "results.json").write_text(json.dumps({"train": {"steps": 3}}))
    (tmp_path / "report.html").write_text("a report")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    common = ["--model_name_or_path", "toy/toy", "--dtype", "float32", "--output_dir", str(tmp_path)]
    assert contrastive.run([*common, "--save_strategy", "no", "--logging_steps", "1", *words]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path} holds the finished run of this recipe; nothing is changed\n"
    assert printed.err == ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
