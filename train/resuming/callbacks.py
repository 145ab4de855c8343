"""What a run that can be resumed does after its steps: it seals checkpoints, and stops where it is asked to."""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from train.resuming.manifest import step_size, write_manifest
from train.runtime.distributed import is_main_process, on_any_rank


class SealCheckpoints(TrainerCallback):
    """Writes the manifest into each checkpoint, once all ranks have saved their part.

    Only then older checkpoints are removed, so that a whole one is there at any moment.

    Args:
        recipe: the run as a recipe (`train.recipe.provenance.recipe_text`).
        blocks: the blocks that are trained.
        limit: how many checkpoints stay; None for all.
    """

    def __init__(self, recipe: str, blocks: Sequence[int], limit: int | None = None) -> None:
        self._recipe = recipe
        self._blocks = list(blocks)
        self._limit = limit

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        args.distributed_state.wait_for_everyone()
        output = Path(str(args.output_dir))
        if is_main_process():
            recipe = yaml.safe_load(self._recipe)
            write_manifest(output / f"checkpoint-{state.global_step}", recipe, self._blocks, step_size(args))
            rotate_checkpoints(str(output), self._limit, use_mtime=True)


class StopAfterStep(TrainerCallback):
    """Saves a checkpoint and stops, on all ranks after the same step, once one of them is asked to end.

    Args:
        asked: whether this process is asked to end (`train.runtime.stopping.ending_after_step`).
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.stopped = False
        self._asked = asked

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if on_any_rank(self._asked(), args.device):
            self.stopped = control.should_save = control.should_training_stop = True
