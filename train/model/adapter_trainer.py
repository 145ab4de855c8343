"""What our trainers share: transformers' Trainer for LoRA, which stops before a step that would break the adapter."""

import shutil
from collections.abc import Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import DataCollator, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput

from train.model.explosion import LossWatch
from train.model.gradients import RequireGradients
from train.model.sharding import hand_over
from train.recipe.trainer_arguments import with_values
from train.resuming.callbacks import SealCheckpoints, StopAfterStep
from train.runtime.distributed import highest_of_ranks, is_main_process
from train.runtime.errors import ModelError
from train.runtime.stopping import Terminated, ending_after_step


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
                save_total_limit=None,  # `SealCheckpoints` removes old ones, once the new one is sealed
                push_to_hub=False,  # a run is pushed once, by train.publishing, without its resume state
                remove_unused_columns=False,  # what we train on are no columns of the model's
                label_names=[],
            ),
            train_dataset=texts,
            data_collator=collate,
            processing_class=tokenizer,
        )
        self.model_accepts_loss_kwargs = False  # our loss is a mean over the micro-batch
        self._checkpoints_kept = training.save_total_limit
        self.add_callback(RequireGradients())
        self.add_callback(watch := LossWatch())
        self._watch = watch

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, without PEFT's cast of each adapter's input to float32 where autocast casts it back."""
        hand_over(cast(nn.Module, self.model))
        with disable_input_dtype_casting(self.accelerator.unwrap_model(self.model), active=self.args.bf16):
            return super().train(*args, **kwargs)

    def train_from(self, checkpoint: str | None, recipe: str, blocks: Sequence[int]) -> TrainOutput:
        """Train, go on from a checkpoint if there is one, and seal every checkpoint that is written.

        Args:
            checkpoint: the folder to go on from. Where it has made all the steps, its adapter is taken as it is.
            recipe, blocks: what a checkpoint belongs to (`train.resuming.callbacks.SealCheckpoints`).

        Raises:
            Terminated: somebody has asked the process to end. A checkpoint of the last step is written.
        """
        self.add_callback(SealCheckpoints(recipe, blocks, self._checkpoints_kept))
        with ending_after_step() as asked:
            self.add_callback(stop := StopAfterStep(asked))
            done: TrainOutput = self.train(resume_from_checkpoint=checkpoint)
            if stop.stopped or asked():
                raise Terminated(f"after step {done.global_step}")
        return done

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train for an epoch; the Trainer itself makes a step too many where a checkpoint has made all of them."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save into a new folder. What an interrupted save has left there would be taken for a part of this one."""
        if is_main_process():
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(*args, **kwargs)

    def require_sound(self, loss: Tensor, first: Sequence[int]) -> None:
        """Stop before the optimiser takes a step with this loss, on all ranks together.

        Args:
            loss: of a batch.
            first: the tokens of the batch's first text, whose end the message shows.

        Raises:
            ModelError: on some rank the loss is NaN or infinite, or it has exploded (`LossWatch`).
        """
        loss = loss.detach() * self.current_gradient_accumulation_steps  # which the Trainer has divided it by
        highest = highest_of_ranks(inf if loss.isnan() else float(loss), self.args.device)
        if not isfinite(highest):
            fault = f"the loss is {float(loss)}"
        elif self._watch.exploded(highest):
            fault = (
                f"the loss has been above {self._watch.limit:.3g} in {self._watch.batches} batches in a row, and is "
                f"{float(loss):.3g}"
            )
        else:
            return
        tokenizer = cast(PreTrainedTokenizerBase, self.processing_class)
        text = str(tokenizer.decode(list(first), skip_special_tokens=True))[-60:]
        raise ModelError(
            f"training stopped before step {self.state.global_step + 1}: {fault} in a batch with "
            f"{text!r} (on this rank). No adapter was saved; checkpoints before it are whole. "
            f"A learning_rate below {self.args.learning_rate:g} is the usual remedy"
        )
