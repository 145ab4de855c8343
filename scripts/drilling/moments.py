"""The named moments at which a run is killed, each in front of, behind or in the middle of a call."""

import os
import pkgutil
import signal
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Moment(NamedTuple):
    """A moment of a run.

    Args:
        name: what the run is doing.
        function: the full name of a function, as its caller finds it.
        call: which of its calls in the process.
        when: before the call, after it, or when the file that it writes is half as long as it would be.
        every_rank: all ranks call it, not the main one alone.
    """

    name: str
    function: str
    call: int = 1
    when: Literal["before", "after", "half"] = "before"
    every_rank: bool = False


_TRAINER, _STORE, _REPORT = "transformers.trainer.Trainer", "train.model.written_store", "train.publishing.report"
_CALLBACKS, _MANIFEST = "train.resuming.callbacks", "train.resuming.manifest"

# None is a random moment.
MOMENTS: tuple[Moment | None, ...] = (
    Moment("mined answers are to be kept", f"{_STORE}.write_text"),
    Moment("a checkpoint has its adapter only", f"{_TRAINER}._save_optimizer_and_scheduler", 2, every_rank=True),
    None,
    Moment("a checkpoint has no manifest", f"{_CALLBACKS}.write_manifest", 2),
    Moment("the evaluation after training is under way", "train.evaluation.evaluate.judge_answers", 2, every_rank=True),
    None,
    Moment("kept answers are written, and not renamed", "pathlib.Path.replace", 2),
    Moment("a file of a checkpoint is half written", "torch.save", 6, "half", True),
    Moment("the adapter is to be saved", "train.training.save_adapter", every_rank=True),
    None,
    Moment("the block-input cache is full, and not finished", "train.base.reading.finish_cache"),
    Moment("a checkpoint has no random state", f"{_TRAINER}._save_rng_state", 2, every_rank=True),
    Moment("the adapter is written, and not renamed", "train.model.adapter_files.sort_lists"),
    None,
    Moment("layers.json is to be written", "train.contrastive.write_profile"),
    Moment("a manifest is to be renamed", f"{_MANIFEST}.write_json", 2),
    Moment("the evaluation has not begun", "train.contrastive.load_adapted", every_rank=True),
    None,
    Moment("the block-input cache has its references", "train.base.block_input_store.write_json", 1, "after"),
    Moment("the first checkpoint's state is to be written", "transformers.trainer_callback.TrainerState.save_to_json"),
    Moment("the results are to be written", f"{_REPORT}.write_json"),
    None,
    Moment("the third answers are half kept", f"{_STORE}.write_text", 3, "half"),
    Moment("an old checkpoint is to be removed", f"{_CALLBACKS}.rotate_checkpoints", 2),
    Moment("the results are written, and no report", f"{_REPORT}.write_report"),
    None,
    Moment("a new checkpoint's folder is to be made", f"{_TRAINER}._save_checkpoint", 3, every_rank=True),
    Moment("the last checkpoint is sealed", f"{_CALLBACKS}.rotate_checkpoints", 3, "after"),
    Moment("the calibration is under way", "train.contrastive.calibrate_sets", every_rank=True),
    None,
    Moment("everything is written", "train.contrastive._push"),
)


def kill_at(moment: Moment) -> None:
    """Let this process kill itself at a moment."""
    holder, name = pkgutil.resolve_name(moment.function.rpartition(".")[0]), moment.function.rpartition(".")[2]
    function, calls = getattr(holder, name), 0

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < moment.call:
            return function(*args, **kwargs)
        if moment.when != "before":
            function(*args, **kwargs)
        if moment.when == "half":
            path = next(Path(each) for each in args if isinstance(each, str | Path) and Path(each).is_file())
            os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(holder, name, counted)
