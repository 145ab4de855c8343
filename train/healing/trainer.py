"""Train what is left of a cut model to say what the whole one says."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from eavss.batches import Batch, TokenSequence, pad
from eavss.blocks import capture_block_outputs, find_blocks
from eavss.surgery import skip_blocks
from train.healing.students import Student
from train.losses import divergence
from train.model.adapter_trainer import AdapterTrainer
from train.model.loading import causal_lm
from train.model.logits import logits_at


class Reading(NamedTuple):
    """What a model makes of N tokens: logits (N, V), and K states (N, H) of the residual stream."""

    logits: Tensor
    states: list[Tensor]


def ends_of_runs(removed: Sequence[int]) -> list[int]:
    """Return the last block of each run of neighbours among the removed blocks."""
    return [layer for layer in removed if layer + 1 not in removed]


def state_error(states: Sequence[Tensor], whole: Sequence[Tensor]) -> Tensor:
    """Return the squared error of states (N, H) relative to the whole model's, the mean over tokens and places."""
    errors = [
        ((found - wanted).float().square().sum(-1) / wanted.float().square().sum(-1)).mean()
        for found, wanted in zip(states, whole, strict=True)
    ]
    return torch.stack(errors).mean()


class HealingTrainer(AdapterTrainer):
    """Minimises the divergence of the cut model's next-token distributions from the whole model's.

    A second term is the error of the residual stream where each run of removed blocks ends: there the cut model takes
    up what the whole one has computed.

    Args:
        student: what is trained.
        training: the Trainer's arguments.
        texts: what to learn from.
        tokenizer: saved with each checkpoint.
    """

    def __init__(
        self,
        *,
        student: Student,
        training: TrainingArguments,
        texts: Sequence[TokenSequence],
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__(
            model=student.model,
            training=training,
            texts=cast(Dataset[TokenSequence], list(texts)),
            collate=lambda sequences: {"batch": pad(sequences)},
            tokenizer=tokenizer,
        )
        self._student = student
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one batch forward and backward.

        Raises:
            ModelError: the loss is NaN or infinite, or it has exploded.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.require_sound(loss, inputs["batch"].input_ids[0].tolist())
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the weighted sum of both terms."""
        batch: Batch = inputs["batch"].to(self.args.device)
        own, teacher = self._student, self._student.teacher
        unread = self._unread()
        with torch.no_grad(), own.as_whole(), skip_blocks(teacher, unread):
            whole = self._read(teacher, teacher, batch)
        student = self.accelerator.unwrap_model(model)
        with skip_blocks(student, [*own.removed, *unread]):
            found = self._read(model, causal_lm(student), batch)
        loss = own.weights.states * (states := state_error(found.states, whole.states))
        if own.weights.divergence:
            loss = loss + own.weights.divergence * (value := divergence(whole.logits, found.logits))
            self._values["loss/divergence"].append(value.detach())
        self._values["loss/states"].append(states.detach())
        return (loss, None) if return_outputs else loss

    def _unread(self) -> list[int]:
        """Return the blocks behind the last removed one where the logits have no weight."""
        total = len(find_blocks(self._student.teacher).modules)
        return [] if self._student.weights.divergence else list(range(self._student.removed[-1] + 1, total))

    def _read(self, model: nn.Module, head: PreTrainedModel, batch: Batch) -> Reading:
        rows, columns = batch.attention_mask.nonzero(as_tuple=True)
        read = (rows, columns) if self._student.weights.divergence else (rows[:0], columns[:0])
        states: dict[int, Tensor] = {}
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
        with capture_block_outputs(find_blocks(head), ends_of_runs(self._student.removed), states.__setitem__):
            logits = logits_at(model, head, inputs, *read)
        return Reading(logits, [states[layer][rows, columns] for layer in sorted(states)])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of both terms since the last log over all ranks."""
        if "loss" in logs and self._values:
            means = torch.stack([torch.stack(values).mean() for values in self._values.values()])
            logs |= dict(zip(self._values, self.accelerator.reduce(means, reduction="mean").tolist(), strict=True))
            self._values.clear()
        super().log(logs, start_time)
