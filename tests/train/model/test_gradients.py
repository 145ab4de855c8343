"""Training stops where the loss does not reach a selected block."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eavss.selectors import Selection
from tests.toys import arguments, toy_setup
from train.model.gradients import RequireGradients
from train.runtime.errors import ModelError
from train.trainer import ContrastiveTrainer


def trainer_without_gradients(folder: Path, block: int, steps: int, until: int) -> ContrastiveTrainer:
    """Return a trainer of blocks 1 and 2 that takes one block's gradients away until the step `until`."""
    args, training = arguments(folder, "--max_steps", str(steps))
    trainer = toy_setup(args).trainer(Selection((1, 2), "layers"), training)
    for name, parameter in trainer.adapted.named_parameters():
        if f".layers.{block}." in name and parameter.requires_grad:
            batches = count(1)

            def take(gradient: Tensor, batches: "count[int]" = batches) -> Tensor:
                return torch.zeros_like(gradient) if next(batches) < until else gradient

            parameter.register_hook(take)
    return trainer


@pytest.mark.parametrize("steps", [3, 24])
def test_a_block_without_a_gradient_is_named(steps: int, tmp_path: Path) -> None:
    trainer = trainer_without_gradients(tmp_path, 2, steps, until=100)
    with pytest.raises(ModelError, match=rf"at step {min(steps, 20)}: the loss has no gradient at blocks \[2\]"):
        trainer.train()


def test_some_batches_may_have_no_gradient(tmp_path: Path) -> None:
    """The hooks go with the check."""
    trainer = trainer_without_gradients(tmp_path, 2, 21, until=20)
    trainer.train()
    assert trainer.state.global_step == 21
    (check,) = (each for each in trainer.callback_handler.callbacks if isinstance(each, RequireGradients))
    assert check._hooks == []
