"""Find the checkpoint that a run resumes from, and what is left to do after it."""

from math import ceil
from pathlib import Path

from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from train.runtime.errors import RecipeError

_STATE = "trainer_state.json"


def find_checkpoint(training: TrainingArguments) -> str | None:
    """Return the folder that `resume_from_checkpoint` names, or None where the run starts afresh.

    Raises:
        RecipeError: there is no such checkpoint, or it has made all the steps that the recipe asks for.
    """
    named = training.resume_from_checkpoint
    if named is None or named.lower() == "false":
        return None
    if named.lower() == "true":
        folder = str(training.output_dir)
        named = get_last_checkpoint(folder) if Path(folder).is_dir() else None
        if named is None:
            raise RecipeError(f"resume_from_checkpoint: there is no checkpoint in {training.output_dir}")
    if not Path(named).is_dir():
        raise RecipeError(f"resume_from_checkpoint: no folder {named}")
    _refuse_finished(named, training)
    return named


def steps_made(checkpoint: str | None) -> int:
    """Return how many steps a checkpoint has made; 0 where there is none."""
    return _state(checkpoint).global_step if checkpoint else 0


def _state(checkpoint: str) -> TrainerState:
    path = Path(checkpoint) / _STATE
    try:
        return TrainerState.load_from_json(str(path))
    except (OSError, ValueError, TypeError):
        raise RecipeError(
            f"resume_from_checkpoint: {checkpoint} holds no readable {_STATE}, as a checkpoint does"
        ) from None


def _refuse_finished(checkpoint: str, training: TrainingArguments) -> None:
    """Keep a finished run's results from being overwritten by those of a run that trains nothing."""
    state = _state(checkpoint)
    steps = training.max_steps
    if steps <= 0:
        steps = ceil(training.num_train_epochs * state.max_steps / max(1, state.num_train_epochs))
    if state.global_step >= steps:
        key = "max_steps" if training.max_steps > 0 else "num_train_epochs"
        raise RecipeError(
            f"resume_from_checkpoint: {checkpoint} has made all {steps} steps, so nothing is left to train; "
            f"raise {key}, or resume from an earlier checkpoint into another output_dir"
        )
