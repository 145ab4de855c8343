"""A loss that explodes without being NaN stops the run; one that varies does not."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from eavss.selectors import Selection
from tests.toys import toy_setup
from train.model.explosion import LossWatch
from train.recipe.parse import parse
from train.runtime.errors import ModelError
from train.trainer import ContrastiveTrainer


def stops_at(*losses: float) -> int | None:
    """Return the index of the batch that stops the run; None where none does."""
    watch = LossWatch()
    return next((number for number, loss in enumerate(losses) if watch.exploded(loss)), None)


def test_the_limit_is_five_times_the_lowest_running_median() -> None:
    """By hand: medians 4, 3, 2 of the batches 4, 2, 2; a batch above 10 does not count among them, nor raise it."""
    watch = LossWatch()
    limits = []
    for loss in (4.0, 2.0, 2.0, 100.0, 9.0):
        watch.exploded(loss)
        limits.append(watch.limit)
    assert limits == [20, 15, 10, 10, 10]


def test_five_batches_in_a_row_stop_the_run() -> None:
    assert stops_at(3, 3, *[16] * 5) == 6
    assert stops_at(3, *[16, 16, 16, 16, 14] * 10) is None, "the fifth is not above 15"
    assert stops_at(3, *[3 * 1.2**step for step in range(60)]) is not None, "it grows by a fifth in each step"


def test_no_run_is_stopped_for_a_loss_that_varies() -> None:
    """A loss near 0 may be many times itself; a first batch may be far below the others; a warm-up is slow."""
    assert stops_at(*[0.01, 0.9] * 50, *[4.0] * 50) is None
    assert stops_at(0.7, *[4.5] * 100) is None
    assert stops_at(*[9.0] * 20, *[9.0 - step / 10 for step in range(80)], *[3.0] * 20) is None


class Exploding(ContrastiveTrainer):
    """A trainer whose loss is 100 times itself from the fourth step on."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().compute_loss(*args, **kwargs)
        return loss * (100 if self.state.global_step >= 3 else 1)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_an_exploding_run_stops_and_keeps_what_it_saved_before(accumulated: int, tmp_path: Path) -> None:
    """The fourth step's batches are the first with such a loss, and no checkpoint is written after step 3."""
    words = ("--max_steps", "20", "--gradient_accumulation_steps", str(accumulated), "--save_steps", "1")
    toy = ["--model_name_or_path", "toy/toy", "--dtype", "float32", "--output_dir", str(tmp_path)]
    args, training = parse([*toy, "--per_device_train_batch_size", "4", *words])
    trainer = toy_setup(args).trainer(Selection((1, 2), "layers"), training, Exploding)
    step = 8 if accumulated == 1 else 7  # of three batches in an epoch, the last makes a step alone
    with pytest.raises(
        ModelError, match=rf"before step {step}: the loss has been above 3\d(\.\d)? in 5 batches in a row"
    ):
        trainer.train()
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {f"checkpoint-{number}" for number in (1, 2, 3)}
