"""Check that training reaches every block that it is meant for."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from eavss.blocks import find_blocks
from train.runtime.distributed import on_any_rank
from train.runtime.errors import ModelError

# A single batch may have nothing to teach, such as one without a second truthful answer for InfoNCE.
_STEPS = 20


class RequireGradients(TrainerCallback):
    """Stops training where a block with an adapter has had no gradient in the first steps, on all ranks together."""

    def __init__(self) -> None:
        self._reached: dict[int, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._check_at = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        model = kwargs["model"]
        assert isinstance(model, nn.Module)
        self._check_at = min(state.global_step + _STEPS, state.max_steps)
        for index, block in enumerate(find_blocks(model).modules):
            for parameter in filter(lambda each: each.requires_grad, block.parameters()):
                self._reached[index] = torch.zeros((), dtype=torch.bool, device=args.device)
                self._hooks.append(parameter.register_hook(self._note(index)))

    def _note(self, block: int) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            self._reached[block] |= gradient.any()  # stays on the device, so that no step waits for it

        return note

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Check once.

        Raises:
            ModelError: a block has had no gradient.
        """
        if state.global_step < self._check_at or not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        unreached = [block for block, seen in self._reached.items() if not on_any_rank(bool(seen), args.device)]
        if unreached:
            raise ModelError(
                f"training stopped at step {state.global_step}: the loss has no gradient at blocks {unreached}, "
                "so their adapters learn nothing; look at the weights of the loss terms and at the data"
            )
