"""Find the checkpoint that a run resumes from, and refuse one that is not whole or belongs to another run."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import yaml
from transformers import TrainerState, TrainingArguments

from train.resuming.manifest import MANIFEST, Manifest, is_own, problem_of, read_manifest, step_size
from train.runtime.distributed import say
from train.runtime.errors import RecipeError

_STATE = "trainer_state.json"
# Keys that have no part in what is trained (by their first letters), or whose change is the reason to resume.
_FREE = (
    *("max_steps", "num_train_epochs", "save_", "logging_", "report_to", "run_name", "hub_", "push_", "trust_"),
    *("eval", "retention", "prompts", "num_fewshot", "question_hidden", "free_answers", "ask_to_decline"),
    *("calibration_", "knowledge_", "prefix_cache_gb", "pack_answers", "train_token_budget", "datasets_root"),
    *("deepspeed", "attn_implementation", "dataloader_", "ddp_", "disable_tqdm", "activation_checkpointing"),
    # compared as pairs in a step, so that the number of ranks may change
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)


def find_checkpoint(training: TrainingArguments, recipe: str, trusted: bool = False) -> str | None:
    """Return the folder that `resume_from_checkpoint` names, or None where the run starts afresh.

    `true` takes the newest whole checkpoint in the output folder, and says which broken ones it passes over. So does
    `auto`, which starts afresh where there is none: a scheduler can then repeat one command.

    Args:
        recipe: the run as a recipe.
        trusted: take a checkpoint that this user has not written, whose loading under DeepSpeed may run code.

    Raises:
        RecipeError: there is no whole checkpoint, it is another run's or not to be trusted, or it has made all the
            steps that the recipe asks for.
    """
    named = training.resume_from_checkpoint
    if named is None or named.lower() == "false":
        return None
    if named.lower() in ("true", "auto"):
        newest = _newest_whole(Path(str(training.output_dir)))
        if newest is None:
            if named.lower() == "auto":
                return None
            raise RecipeError(f"resume_from_checkpoint: there is no whole checkpoint in {training.output_dir}")
        named, manifest = newest, read_manifest(Path(newest))
    elif Path(named).is_dir():
        manifest = _whole_manifest(named)
    else:
        raise RecipeError(f"resume_from_checkpoint: no folder {named}")
    # DeepSpeed unpickles what it loads, and the Trainer alone does not.
    if training.deepspeed and not trusted and not (manifest and is_own(manifest)):
        raise RecipeError(
            f"resume_from_checkpoint: {named} was not written by you here, and DeepSpeed would run code in it; "
            "set trust_checkpoint: true if you know where it comes from"
        )
    if manifest is not None:
        _refuse_other(named, manifest, yaml.safe_load(recipe), step_size(training))
    _refuse_finished(named, training)
    return named


def require_blocks(checkpoint: str | None, blocks: Sequence[int]) -> None:
    """Check that a checkpoint has adapters on the blocks that are trained now.

    Raises:
        RecipeError: it has not.
    """
    manifest = None if checkpoint is None else read_manifest(Path(checkpoint))
    if manifest is not None and manifest["blocks"] != list(blocks):
        found = manifest["blocks"]
        raise RecipeError(f"resume_from_checkpoint: {checkpoint} trained blocks {found}, and this run {list(blocks)}")


def steps_made(checkpoint: str | None) -> int:
    """Return how many steps a checkpoint has made; 0 where there is none."""
    return _state(checkpoint).global_step if checkpoint else 0


def _newest_whole(folder: Path) -> str | None:
    numbers = [path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")]
    for number in sorted(map(int, filter(str.isdecimal, numbers)), reverse=True):
        checkpoint = folder / f"checkpoint-{number}"
        if not (problem := problem_of(checkpoint)):
            return str(checkpoint)
        say(f"note: {checkpoint} is passed over: {problem}")
    return None


def _whole_manifest(named: str) -> Manifest | None:
    """Return a whole checkpoint's manifest; None, with a note, where it has none."""
    manifest_exists = (Path(named) / MANIFEST).exists()
    if manifest_exists and (problem := problem_of(Path(named))):
        raise RecipeError(f"resume_from_checkpoint: {named} cannot be used: {problem}")
    if not manifest_exists:
        say(f"note: {named} does not say what it belongs to; it may be unfinished, or of an earlier version")
    return read_manifest(Path(named))


def _refuse_other(checkpoint: str, manifest: Manifest, recipe: dict[str, object], pairs: int) -> None:
    """Refuse a checkpoint of a run that differs in what it trains, or how."""
    before = manifest["recipe"]
    for key in sorted(before.keys() | recipe.keys()):
        if not key.startswith(_FREE) and before.get(key) != recipe.get(key):
            raise RecipeError(
                f"{key}: {recipe.get(key)} should be {before.get(key)}, with which {checkpoint} was trained; "
                "or start afresh in another output_dir"
            )
    if manifest["step_size"] != pairs:
        raise RecipeError(
            f"per_device_train_batch_size: with gradient_accumulation_steps and the ranks it makes {pairs} a step; "
            f"it should make {manifest['step_size']}, with which {checkpoint} was trained"
        )


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
