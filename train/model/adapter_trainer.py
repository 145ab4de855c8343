"""What our trainers share: transformers' Trainer for LoRA, which stops before a step that would break the adapter."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import DataCollator, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from train.model.sharding import hand_over
from train.recipe.trainer_arguments import with_values
from train.runtime.errors import ModelError


class AdapterTrainer(Trainer):
    """Transformers' Trainer for a model with LoRA, whose batches are ours.

    Args:
        model: what is trained.
        training: the Trainer's arguments, which are left as they are.
        texts: what batches are drawn from.
        collate: makes the keyword `inputs` of `compute_loss` from a batch of them.
        tokenizer: saved with each checkpoint.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel | PeftModel,
        training: TrainingArguments,
        texts: Dataset[Any],
        collate: DataCollator,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__(
            model=model,
            args=with_values(
                training,
                push_to_hub=False,  # a run is pushed once, by train.publishing, without its resume state
                remove_unused_columns=False,  # what we train on are no columns of the model's
                label_names=[],
            ),
            train_dataset=texts,
            data_collator=collate,
            processing_class=tokenizer,
        )
        self.model_accepts_loss_kwargs = False  # our loss is a mean over the micro-batch

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, without PEFT's cast of each adapter's input to float32 where autocast casts it back."""
        hand_over(cast(nn.Module, self.model))
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
