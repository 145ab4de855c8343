"""A run that is asked to end writes a checkpoint after the step, and goes on from there to the same adapter."""

import os
import signal
from pathlib import Path

import pytest
import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from eavss.selectors import Selection
from tests.toys import arguments, toy_setup
from train.plan import TrainFigures
from train.recipe.provenance import recipe_text
from train.recipe.trainer_arguments import with_values
from train.resuming import callbacks
from train.resuming.finding import find_checkpoint
from train.runtime.stopping import Terminated
from train.training import fine_tune

SIX_STEPS = (
    "--max_steps",
    "6",
    "--learning_rate",
    "5e-3",
    "--lora_dropout",
    "0.1",
    "--per_device_train_batch_size",
    "2",
)


class AskToEnd(TrainerCallback):
    """Sends the signal in the middle of a step."""

    def __init__(self, step: int, number: int) -> None:
        self._step, self._number = step, number

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.global_step == self._step - 1:
            os.kill(os.getpid(), self._number)


def tuned(folder: Path, named: str = "auto", **values: object) -> TrainFigures:
    """Train blocks 1 and 2 for six steps, or go on with that."""
    args, training = arguments(folder, *SIX_STEPS, "--resume_from_checkpoint", named)
    training = with_values(training, **values)
    found = find_checkpoint(training, recipe_text(args, training))
    return fine_tune(toy_setup(args), Selection((1, 2), "layers"), training, found)


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(("step", "number"), [(3, signal.SIGTERM), (6, signal.SIGUSR1)])
def test_a_run_that_is_asked_to_end_goes_on_to_the_same_adapter(
    step: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a save strategy too, and where the step is the last one."""
    tuned(tmp_path / "whole")
    with monkeypatch.context() as patch:
        asking = transformers.trainer.DEFAULT_CALLBACKS
        patch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", [*asking, AskToEnd(step, number)])
        with pytest.raises(Terminated, match=f"after step {step}"):
            tuned(tmp_path / "stopped")
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [f"checkpoint-{step}"]
    figures = tuned(tmp_path / "stopped")
    assert (figures["steps"], len(figures["log"])) == (6, 6)
    assert adapter(tmp_path / "stopped") == adapter(tmp_path / "whole")


def test_a_checkpoint_with_all_steps_gives_its_adapter(tmp_path: Path) -> None:
    """In the middle of an epoch, where the Trainer itself would make a seventh step."""
    first = tuned(tmp_path, save_strategy=SaveStrategy.STEPS, save_steps=6)
    before = adapter(tmp_path)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    figures = tuned(tmp_path)
    assert adapter(tmp_path) == before
    assert figures["log"] == first["log"]
    assert figures["loss"] == pytest.approx(first["loss"], abs=1e-3)
    assert figures["pairs_per_second"] == 0


def test_an_old_checkpoint_goes_once_the_new_one_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So one that is whole is there at any moment, also of the run that goes on from the one that goes."""
    seen: list[list[str]] = []
    write = callbacks.write_manifest

    def watched(checkpoint: Path, *args: object) -> None:
        seen.append(sorted(path.parent.name for path in tmp_path.glob("checkpoint-*/eavss_checkpoint.json")))
        write(checkpoint, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(callbacks, "write_manifest", watched)
    strategy = {"save_strategy": SaveStrategy.STEPS, "save_steps": 2, "save_total_limit": 1}
    tuned(tmp_path, max_steps=4, **strategy)
    assert tuned(tmp_path, **strategy)["steps"] == 6
    assert seen == [[], ["checkpoint-2"], ["checkpoint-4"]]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]


def test_what_an_interrupted_save_has_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    left = tmp_path / "checkpoint-3" / "global_step3" / "zero_pp_rank_1_optim_states.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a run on two ranks")
    tuned(tmp_path, save_strategy=SaveStrategy.STEPS, save_steps=3)
    assert (tmp_path / "checkpoint-3" / "eavss_checkpoint.json").exists()
    assert not left.exists()
