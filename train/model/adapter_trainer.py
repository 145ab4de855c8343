"""What our trainers share: transformers' Trainer for LoRA, which stops before a step that would break the adapter."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Trainer

from train.runtime.errors import ModelError


class AdapterTrainer(Trainer):
    """Transformers' Trainer for a model with LoRA."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, without PEFT's cast of each adapter's input to float32 where autocast casts it back."""
        with disable_input_dtype_casting(self.accelerator.unwrap_model(self.model), active=self.args.bf16):
            return super().train(*args, **kwargs)

    def require_finite(self, loss: Tensor, first: Sequence[int]) -> None:
        """Stop before the optimiser takes a step with this loss, on all ranks together.

        Args:
            loss: of a batch.
            first: the tokens of the batch's first text, whose end the message shows.

        Raises:
            ModelError: the loss is NaN or infinite on some rank.
        """
        broken = (~loss.isfinite()).float()
        if self.args.world_size > 1:
            torch.distributed.all_reduce(broken, torch.distributed.ReduceOp.MAX)
        if broken:
            tokenizer = cast(PreTrainedTokenizerBase, self.processing_class)
            text = str(tokenizer.decode(list(first), skip_special_tokens=True))[-60:]
            raise ModelError(
                f"training stopped before step {self.state.global_step + 1}: the loss is {float(loss)} in a batch with "
                f"{text!r} (on this rank). No adapter was saved; checkpoints before it are whole. "
                f"A learning_rate below {self.args.learning_rate:g} is the usual remedy"
            )
