"""Find the checkpoint that a run resumes from, and refuse one that is not whole or belongs to another run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import yaml
from transformers import TrainerState, TrainingArguments

from train.resuming.manifest import MANIFEST, Manifest, is_own, problem_of, read_manifest, step_size
from train.runtime.distributed import say
from train.runtime.errors import RecipeError

_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Finish:
    """What a job writes last, by which a finished run is known.

    Args:
        record: a JSON file in the output folder.
        key: its record of training, which says how many `steps` were made.
        files: what else is there then.
    """

    record: str
    key: str
    files: tuple[str, ...] = ()


TRAINED = Finish("results.json", "train", ("report.html",))
HEALED = Finish("model/cut.json", "healed")
# Keys that have no part in what is trained (by their first letters), or whose change is the reason to resume.
_FREE = (
    *("max_steps", "num_train_epochs", "save_", "logging_", "report_to", "run_name", "hub_", "push_", "trust_"),
    *("eval", "retention", "prompts", "num_fewshot", "question_hidden", "free_answers", "ask_to_decline"),
    *("calibration_", "knowledge_", "prefix_cache_gb", "pack_answers", "train_token_budget", "datasets_root"),
    *("deepspeed", "attn_implementation", "dataloader_", "ddp_", "disable_tqdm", "activation_checkpointing"),
    # compared as pairs in a step, so that the number of ranks may change
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)


def find_checkpoint(
    training: TrainingArguments, recipe: str, trusted: bool = False, finish: Finish = TRAINED
) -> str | None:
    """Return the folder that `resume_from_checkpoint` names, or None where the run starts afresh.

    `true` takes the newest whole checkpoint in the output folder, and says which broken ones it passes over. So does
    `auto`, which starts afresh where there is none: a scheduler can then repeat one command. A checkpoint that has made
    all the steps is taken too, since what follows training may be missing.

    Args:
        recipe: the run as a recipe.
        trusted: take a checkpoint that this user has not written, whose loading under DeepSpeed may run code.
        finish: what the job writes last.

    Raises:
        RecipeError: there is no whole checkpoint, it is another run's or not to be trusted, or it has made more steps
            than the recipe asks for. Where nothing is missing, all but `auto` are refused too.
    """
    named = training.resume_from_checkpoint
    if named is None:
        _say_unused(training)
    if named is None or named.lower() == "false":
        return None
    auto = named.lower() == "auto"
    if auto or named.lower() == "true":
        newest = _newest_whole(Path(str(training.output_dir)))
        if newest is None:
            if auto:
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
    _refuse_more_steps(named, training)
    if not auto:
        _refuse_finished(named, training, finish)
    return named


def _say_unused(training: TrainingArguments) -> None:
    """Say that a run starts afresh although there are checkpoints in its folder."""
    if any(Path(str(training.output_dir)).glob(f"checkpoint-*/{MANIFEST}")):
        say(
            f"note: the checkpoints in {training.output_dir} are not used; "
            "--resume_from_checkpoint auto goes on from the newest"
        )


def is_finished(checkpoint: str | None, training: TrainingArguments, finish: Finish = TRAINED) -> bool:
    """Return whether a checkpoint has made all the steps, and its run has written its results into the output folder.

    Results that are older than the checkpoint are an earlier run's.

    Args:
        finish: what the job writes last.
    """
    if checkpoint is None or steps_made(checkpoint) < _steps_asked(checkpoint, training):
        return False
    output = Path(str(training.output_dir))
    try:
        steps = json.loads((output / finish.record).read_text(encoding="utf-8"))[finish.key]["steps"]
        oldest = min((output / name).stat().st_mtime_ns for name in (finish.record, *finish.files))
        newer = oldest >= (Path(checkpoint) / _STATE).stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return newer and steps == steps_made(checkpoint)


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


def _steps_asked(checkpoint: str, training: TrainingArguments) -> int:
    """Return how many steps the recipe asks for; an epoch has as many as the checkpoint's."""
    state = _state(checkpoint)
    if training.max_steps > 0:
        return training.max_steps
    return ceil(training.num_train_epochs * state.max_steps / max(1, state.num_train_epochs))


def _refuse_finished(checkpoint: str, training: TrainingArguments, finish: Finish) -> None:
    if is_finished(checkpoint, training, finish):
        key = "max_steps" if training.max_steps > 0 else "num_train_epochs"
        raise RecipeError(
            f"resume_from_checkpoint: {checkpoint} has made all {steps_made(checkpoint)} steps, and the results are "
            f"written; raise {key}, or resume from an earlier checkpoint into another output_dir"
        )


def _refuse_more_steps(checkpoint: str, training: TrainingArguments) -> None:
    made, asked = steps_made(checkpoint), _steps_asked(checkpoint, training)
    if made > asked:
        key = "max_steps" if training.max_steps > 0 else "num_train_epochs"
        raise RecipeError(
            f"resume_from_checkpoint: {checkpoint} has made {made} steps, and the recipe asks for {asked}; "
            f"raise {key}, or resume from an earlier checkpoint into another output_dir"
        )
