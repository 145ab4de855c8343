"""A run resumes from what is there, and a finished run is left as it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from eavss.selectors import Selection
from tests.toys import arguments, toy_setup
from train.recipe.provenance import recipe_text
from train.recipe.trainer_arguments import with_values
from train.resuming.callbacks import SealCheckpoints
from train.resuming.finding import find_checkpoint, is_finished, require_blocks, steps_made
from train.runtime.errors import RecipeError
from train.training import fine_tune

RECIPE = "seed: 0\nbeta: 0.1\neval_limit: 5\n"


def checkpoint(folder: Path, step: int, max_steps: int = 10, epochs: int = 2) -> Path:
    """Make a checkpoint's folder with the state that the Trainer writes, and seal it."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {"global_step": step, "max_steps": max_steps, "num_train_epochs": epochs}
    (path / "trainer_state.json").write_text(json.dumps(state))
    (path / "optimizer.pt").write_bytes(bytes(range(200)))
    _, training = arguments(folder)
    SealCheckpoints(RECIPE, [1, 2]).on_save(training, TrainerState(global_step=step), TrainerControl())
    return path


def test_true_names_the_last_checkpoint_and_a_path_that_one(tmp_path: Path) -> None:
    first, last = checkpoint(tmp_path / "run", 2), checkpoint(tmp_path / "run", 8)
    for named, expected in (("true", str(last)), (str(first), str(first)), ("false", None)):
        _, training = arguments(tmp_path / "run", "--max_steps", "10", "--resume_from_checkpoint", named)
        assert find_checkpoint(training, RECIPE) == expected
    assert (steps_made(str(last)), steps_made(None)) == (8, 0)


def write_results(folder: Path, steps: int) -> None:
    (folder / "results.json").write_text(json.dumps({"train": {"steps": steps}}))
    (folder / "report.html").write_text("")


@pytest.mark.parametrize(
    ("words", "key"), [(("--max_steps", "10"), "max_steps"), (("--num_train_epochs", "2"), "num_train_epochs")]
)
def test_a_finished_run_is_left_alone(words: tuple[str, ...], key: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 10)
    write_results(tmp_path, 10)
    for named in ("true", str(path)):
        _, training = arguments(tmp_path, *words, "--resume_from_checkpoint", named)
        with pytest.raises(RecipeError, match=f"has made all 10 steps, and the results are written; raise {key}"):
            find_checkpoint(training, RECIPE)
    auto = with_values(training, resume_from_checkpoint="auto")
    assert find_checkpoint(auto, RECIPE) == str(path)
    assert is_finished(str(path), auto)


def test_a_run_without_its_results_goes_on_though_all_steps_are_made(tmp_path: Path) -> None:
    """It was cut off in its evaluation, or before the report; or the results are of an earlier run."""
    write_results(tmp_path, 10)
    for file in ("results.json", "report.html"):
        os.utime(tmp_path / file, (0, 0))
    path = checkpoint(tmp_path, 10)
    assert find_checkpoint(resuming(tmp_path), RECIPE) == str(path)
    write_results(tmp_path, 8)
    assert not is_finished(str(path), resuming(tmp_path))
    write_results(tmp_path, 10)
    assert is_finished(str(path), resuming(tmp_path))
    halve(tmp_path / "results.json")
    assert find_checkpoint(resuming(tmp_path), RECIPE) == str(path)
    write_results(tmp_path, 10)
    (tmp_path / "report.html").unlink()
    assert find_checkpoint(resuming(tmp_path), RECIPE) == str(path)
    assert not is_finished(None, resuming(tmp_path))


@pytest.mark.parametrize("named", ["true", "auto"])
def test_fewer_steps_than_are_made_are_refused(named: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    _, training = arguments(tmp_path, "--max_steps", "4", "--resume_from_checkpoint", named)
    with pytest.raises(RecipeError, match="has made 10 steps, and the recipe asks for 4; raise max_steps"):
        find_checkpoint(training, RECIPE)


def test_auto_starts_afresh_where_there_is_nothing_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, training = arguments(tmp_path, "--max_steps", "20", "--resume_from_checkpoint", "auto")
    assert find_checkpoint(training, RECIPE) is None
    path = checkpoint(tmp_path, 10)
    assert find_checkpoint(training, RECIPE) == str(path)
    checkpoint(tmp_path, 12)
    (tmp_path / "checkpoint-12" / "trainer_state.json").unlink()
    assert find_checkpoint(training, RECIPE) == str(path)
    assert "checkpoint-12 is passed over" in capsys.readouterr().out


def test_checkpoints_that_are_not_used_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(tmp_path, 10)
    for named, told in (((), True), (("--resume_from_checkpoint", "false"), False)):
        assert find_checkpoint(arguments(tmp_path, *named)[1], RECIPE) is None
        assert ("--resume_from_checkpoint auto goes on from the newest" in capsys.readouterr().out) is told


def test_more_epochs_go_on(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 10)
    _, training = arguments(tmp_path, "--num_train_epochs", "3", "--resume_from_checkpoint", "true")
    assert find_checkpoint(training, RECIPE) == str(path)


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    _, training = arguments(tmp_path, "--resume_from_checkpoint", str(tmp_path))
    with pytest.raises(RecipeError, match=r"holds no readable trainer_state\.json"):
        find_checkpoint(training, RECIPE)


def test_a_resumed_run_counts_its_own_steps(tmp_path: Path) -> None:
    """Four steps are made in all, one of them after the checkpoint; a step has two pairs."""
    args, training = arguments(tmp_path, "--max_steps", "4", "--per_device_train_batch_size", "2")
    training = with_values(training, save_strategy=SaveStrategy.STEPS, save_steps=3)
    selection = Selection((1, 2), "layers")
    fine_tune(toy_setup(args), selection, training, checkpoint=None)
    figures = fine_tune(toy_setup(args), selection, training, checkpoint=str(tmp_path / "checkpoint-3"))
    assert figures["steps"] == 4
    assert figures["pairs_per_second"] * figures["seconds"] == pytest.approx(2)


def resuming(folder: Path, named: str = "true", *words: str) -> TrainingArguments:
    return arguments(folder, "--max_steps", "10", "--resume_from_checkpoint", named, *words)[1]


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("file", "damage", "why"),
    [
        ("eavss_checkpoint.json", Path.unlink, "it was not finished"),
        ("eavss_checkpoint.json", halve, "its eavss_checkpoint.json is damaged"),
        ("trainer_state.json", Path.unlink, "trainer_state.json is damaged or missing"),
        ("optimizer.pt", Path.unlink, "optimizer.pt is damaged or missing"),
        ("optimizer.pt", halve, "optimizer.pt is damaged or missing"),
        ("optimizer.pt", change, "optimizer.pt is damaged or missing"),
    ],
)
def test_the_newest_whole_checkpoint_is_taken(
    file: str, damage: Callable[[Path], None], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10 comes after 8, and what is no checkpoint's folder is none."""
    first, second = checkpoint(tmp_path, 8), checkpoint(tmp_path, 9)
    (tmp_path / "checkpoint-best").mkdir()
    damage(second / file)
    assert find_checkpoint(resuming(tmp_path), RECIPE) == str(first)
    assert f"note: {second} is passed over: {why}" in capsys.readouterr().out
    damage(first / file)
    with pytest.raises(RecipeError, match="there is no whole checkpoint in"):
        find_checkpoint(resuming(tmp_path), RECIPE)


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9, max_steps=20)
    path = checkpoint(tmp_path, 11, max_steps=20)
    _, training = arguments(tmp_path, "--max_steps", "20", "--resume_from_checkpoint", "true")
    assert find_checkpoint(training, RECIPE) == str(path)


def test_a_damaged_checkpoint_that_is_named_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 8)
    halve(path / "optimizer.pt")
    with pytest.raises(RecipeError, match=r"checkpoint-8 cannot be used: optimizer\.pt is damaged or missing"):
        find_checkpoint(resuming(tmp_path, str(path)), RECIPE)


def test_one_without_a_manifest_is_taken_if_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(tmp_path, 8)
    (path / "eavss_checkpoint.json").unlink()
    assert find_checkpoint(resuming(tmp_path, str(path)), RECIPE) == str(path)
    assert "does not say what it belongs to" in capsys.readouterr().out
    require_blocks(str(path), [7])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPE.replace("seed: 0", "seed: 1"), "seed: 1 should be 0, with which"),
        (RECIPE.replace("beta: 0.1", "beta: 0.2"), "beta: 0.2 should be 0.1"),
        (RECIPE + "learning_rate: 0.1\n", "learning_rate: 0.1 should be None"),
    ],
)
def test_another_runs_checkpoint_is_refused(recipe: str, message: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, 8)
    with pytest.raises(RecipeError, match=message):
        find_checkpoint(resuming(tmp_path), recipe)


def test_what_is_not_trained_may_change(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 8)
    recipe = RECIPE.replace("eval_limit: 5", "eval_limit: 50") + "save_steps: 3\nmax_steps: 10\n"
    assert find_checkpoint(resuming(tmp_path), recipe) == str(path)


def test_a_step_has_as_many_pairs(tmp_path: Path) -> None:
    """However they are divided: 8 in one part are 4 in two."""
    path = checkpoint(tmp_path, 8)
    halves = ("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2")
    assert find_checkpoint(resuming(tmp_path, "true", *halves), RECIPE) == str(path)
    with pytest.raises(RecipeError, match=r"it makes 4 a step; it should make 8"):
        find_checkpoint(resuming(tmp_path, "true", *halves[:2]), RECIPE)


def test_the_blocks_are_the_same(tmp_path: Path) -> None:
    path = str(checkpoint(tmp_path, 8))
    require_blocks(path, (1, 2))
    require_blocks(None, (3,))
    with pytest.raises(RecipeError, match=r"trained blocks \[1, 2\], and this run \[1, 3\]"):
        require_blocks(path, (1, 3))


def test_a_run_seals_its_checkpoints(tmp_path: Path) -> None:
    words = ("--max_steps", "4", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1")
    args, training = arguments(tmp_path, *words)
    training = with_values(training, save_strategy=SaveStrategy.STEPS, save_steps=3)
    fine_tune(toy_setup(args), Selection((1, 2), "layers"), training, checkpoint=None)
    again = with_values(training, resume_from_checkpoint="true", max_steps=5)
    found = find_checkpoint(again, recipe_text(args, again))
    assert found == str(tmp_path / "checkpoint-4")
    with pytest.raises(RecipeError, match="this run"):
        fine_tune(toy_setup(args), Selection((2, 3), "layers"), again, checkpoint=found)
