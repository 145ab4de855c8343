"""A run resumes from what is there, and a finished run is left as it is."""

import json
from pathlib import Path

import pytest
from transformers.trainer_utils import SaveStrategy

from eavss.selectors import Selection
from tests.toys import arguments, toy_setup
from train.recipe.arguments import with_values
from train.resuming import find_checkpoint, steps_made
from train.runtime.errors import RecipeError
from train.training import fine_tune


def checkpoint(folder: Path, step: int, max_steps: int = 10, epochs: int = 2) -> Path:
    """Make a checkpoint's folder with the state that the Trainer writes."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {"global_step": step, "max_steps": max_steps, "num_train_epochs": epochs}
    (path / "trainer_state.json").write_text(json.dumps(state))
    return path


def test_true_names_the_last_checkpoint_and_a_path_that_one(tmp_path: Path) -> None:
    first, last = checkpoint(tmp_path / "run", 2), checkpoint(tmp_path / "run", 8)
    for named, expected in (("true", str(last)), (str(first), str(first)), ("false", None)):
        _, training = arguments(tmp_path / "run", "--max_steps", "10", "--resume_from_checkpoint", named)
        assert find_checkpoint(training) == expected
    assert (steps_made(str(last)), steps_made(None)) == (8, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max_steps", "10"), "has made all 10 steps, so nothing is left to train; raise max_steps"),
        (("--max_steps", "4"), "has made all 4 steps"),
        (("--num_train_epochs", "2"), "has made all 10 steps, so nothing is left to train; raise num_train_epochs"),
    ],
)
def test_a_finished_run_is_left_alone(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    _, training = arguments(tmp_path, *words, "--resume_from_checkpoint", "true")
    with pytest.raises(RecipeError) as caught:
        find_checkpoint(training)
    assert message in str(caught.value)


def test_more_epochs_go_on(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 10)
    _, training = arguments(tmp_path, "--num_train_epochs", "3", "--resume_from_checkpoint", "true")
    assert find_checkpoint(training) == str(path)


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    _, training = arguments(tmp_path, "--resume_from_checkpoint", str(tmp_path))
    with pytest.raises(RecipeError, match=r"holds no readable trainer_state\.json"):
        find_checkpoint(training)


def test_a_resumed_run_counts_its_own_steps(tmp_path: Path) -> None:
    """Four steps are made in all, one of them after the checkpoint; a step has two pairs."""
    args, training = arguments(tmp_path, "--max_steps", "4", "--per_device_train_batch_size", "2")
    training = with_values(training, save_strategy=SaveStrategy.STEPS, save_steps=3)
    selection = Selection((1, 2), "layers")
    fine_tune(toy_setup(args), selection, training, checkpoint=None)
    figures = fine_tune(toy_setup(args), selection, training, checkpoint=str(tmp_path / "checkpoint-3"))
    assert figures["steps"] == 4
    assert figures["pairs_per_second"] * figures["seconds"] == pytest.approx(2)
