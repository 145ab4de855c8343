"""Find the checkpoint that a run resumes from, and refuse one that is not whole or belongs to another run.

checkpoint-N/eavss_checkpoint.json    what the checkpoint belongs to, and the size and the checksum of its files;
                                      written last, so a checkpoint without it is unfinished
"""

import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, TypedDict
from zlib import crc32

import yaml
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json

_STATE, _MANIFEST = "trainer_state.json", "eavss_checkpoint.json"
_PART = 1 << 24
# Keys that have no part in what is trained (by their first letters), or whose change is the reason to resume.
_FREE = (
    *(
        "max_steps",
        "num_train_epochs",
        "save_",
        "logging_",
        "eval",
        "retention",
        "report_to",
        "run_name",
        "hub_",
        "push_",
    ),
    *("prompts", "num_fewshot", "question_hidden", "free_answers", "ask_to_decline", "calibration_", "knowledge_"),
    *("prefix_cache_gb", "pack_answers", "train_token_budget", "datasets_root", "trust_remote_code", "deepspeed"),
    *("attn_implementation", "dataloader_", "ddp_", "disable_tqdm", "activation_checkpointing"),
    # compared as pairs in a step, so that the number of ranks may change
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)


class Manifest(TypedDict):
    """What a checkpoint says of itself.

    Args:
        recipe: every key that it was trained with.
        blocks: the blocks that have an adapter.
        step_size: pairs, or texts, in an optimiser step over all ranks.
        files: the size and the checksum of every file, by name.
    """

    recipe: dict[str, Any]
    blocks: list[int]
    step_size: int
    files: dict[str, list[int]]


class SealCheckpoints(TrainerCallback):
    """Writes the manifest into each checkpoint, once all ranks have saved their part.

    Args:
        recipe: the run as a recipe (`train.recipe.provenance.recipe_text`).
        blocks: the blocks that are trained.
    """

    def __init__(self, recipe: str, blocks: Sequence[int]) -> None:
        self._recipe = recipe
        self._blocks = list(blocks)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        args.distributed_state.wait_for_everyone()
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if is_main_process():
            manifest: Manifest = {
                "recipe": yaml.safe_load(self._recipe),
                "blocks": self._blocks,
                "step_size": _step_size(args),
                "files": _files(folder),
            }
            write_json(folder / _MANIFEST, manifest)


def find_checkpoint(training: TrainingArguments, recipe: str) -> str | None:
    """Return the folder that `resume_from_checkpoint` names, or None where the run starts afresh.

    `true` takes the newest whole checkpoint in the output folder, and says which broken ones it passes over.

    Args:
        recipe: the run as a recipe.

    Raises:
        RecipeError: there is no whole checkpoint, it is another run's, or it has made all the steps that the recipe
            asks for.
    """
    named = training.resume_from_checkpoint
    if named is None or named.lower() == "false":
        return None
    if named.lower() == "true":
        named = _newest_whole(Path(str(training.output_dir)))
    elif not Path(named).is_dir():
        raise RecipeError(f"resume_from_checkpoint: no folder {named}")
    elif (Path(named) / _MANIFEST).exists():
        if problem := _problem(Path(named)):
            raise RecipeError(f"resume_from_checkpoint: {named} cannot be used: {problem}")
    else:
        say(f"note: {named} does not say what it belongs to; it may be unfinished, or of an earlier version")
    if (Path(named) / _MANIFEST).exists():
        _refuse_other(named, yaml.safe_load(recipe), _step_size(training))
    _refuse_finished(named, training)
    return named


def require_blocks(checkpoint: str | None, blocks: Sequence[int]) -> None:
    """Check that a checkpoint has adapters on the blocks that are trained now.

    Raises:
        RecipeError: it has not.
    """
    if checkpoint is None or not (Path(checkpoint) / _MANIFEST).exists():
        return
    found = _manifest(Path(checkpoint))["blocks"]
    if found != list(blocks):
        raise RecipeError(f"resume_from_checkpoint: {checkpoint} trained blocks {found}, and this run {list(blocks)}")


def steps_made(checkpoint: str | None) -> int:
    """Return how many steps a checkpoint has made; 0 where there is none."""
    return _state(checkpoint).global_step if checkpoint else 0


def _newest_whole(folder: Path) -> str:
    numbers = [path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")]
    for number in sorted(map(int, filter(str.isdecimal, numbers)), reverse=True):
        checkpoint = folder / f"checkpoint-{number}"
        if not (problem := _problem(checkpoint)):
            return str(checkpoint)
        say(f"note: {checkpoint} is passed over: {problem}")
    raise RecipeError(f"resume_from_checkpoint: there is no whole checkpoint in {folder}")


def _problem(checkpoint: Path) -> str:
    """Return why a checkpoint is not whole, or nothing."""
    try:
        expected = _manifest(checkpoint)["files"]
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {_MANIFEST} is damaged"
    found = _files(checkpoint)
    damaged = [name for name in expected if found.get(name) != expected[name]]
    return f"{damaged[0]} is damaged or missing" if damaged else ""


def _manifest(checkpoint: Path) -> Manifest:
    manifest: Manifest = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
    return manifest


def _files(folder: Path) -> dict[str, list[int]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in paths}


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while part := file.read(_PART):
            checksum = crc32(part, checksum)
    return checksum


def _step_size(training: TrainingArguments) -> int:
    per_rank = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return per_rank * training.world_size


def _refuse_other(checkpoint: str, recipe: Mapping[str, Any], step_size: int) -> None:
    """Refuse a checkpoint of a run that differs in what it trains, or how."""
    manifest = _manifest(Path(checkpoint))
    before, now = manifest["recipe"], recipe
    for key in sorted(before.keys() | now.keys()):
        if not key.startswith(_FREE) and before.get(key) != now.get(key):
            raise RecipeError(
                f"{key}: {now.get(key)} should be {before.get(key)}, with which {checkpoint} was trained; "
                "or start afresh in another output_dir"
            )
    if manifest["step_size"] != step_size:
        raise RecipeError(
            f"per_device_train_batch_size: with gradient_accumulation_steps and the ranks it makes {step_size} a step; "
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
