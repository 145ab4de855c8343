"""The sides of the training benchmark: ours, ours without one feature, and TRL's DPOTrainer."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl import DPOConfig, DPOTrainer

from eavss.batches import TokenSequence
from eavss.blocks import find_blocks
from eavss.selectors import Selection
from scripts.benchmarks.measuring import Work
from train.batching import packing
from train.batching.pairs import ContrastPairs
from train.comparison.trl_config import keep_activations
from train.comparison.trl_dpo import dpo_trainer
from train.model.logits import logits_at, target_logprobs
from train.recipe.arguments import EavssArguments
from train.trainer import ContrastiveTrainer
from train.training import TrainingSetup

SIDES = ("ours", "trl_default", "trl_best")
FEATURES = ("prefix_cache", "packing", "answer_logits", "references_beforehand", "short_backward", "full_rows")
WITHOUT = tuple(f"without_{feature}" for feature in FEATURES)
# The recipe keys that switch a feature off. A backward pass down to the embeddings needs a forward pass from there.
SWITCHED_OFF = {
    "without_prefix_cache": {"prefix_cache_gb": "0"},
    "without_short_backward": {"prefix_cache_gb": "0"},
    "without_packing": {"pack_answers": "false"},
}


@dataclass(frozen=True)
class Task:
    """What every side trains: a model, pairs, and the blocks that ours selects."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pairs: ContrastPairs
    layers: list[int]
    args: EavssArguments
    training: TrainingArguments


def ours(task: Task, side: str) -> Work:
    """Return the work of our side, or of ours without one feature."""
    trainer_class = _ReferencesInEachStep if side == "without_references_beforehand" else ContrastiveTrainer
    setup = TrainingSetup(task.model, task.tokenizer, task.pairs, task.args, seed=0)
    selection = Selection(tuple(sorted(task.layers)), "layers")
    setup.cached_at(selection)  # tries, once for a model, whether it can start there, which is no part of the work

    def work() -> None:
        with _without(side):
            trainer = setup.trainer(selection, task.training, trainer_class)
            if side == "without_short_backward":
                task.model.enable_input_require_grads()
            trainer.train()

    return work


@contextlib.contextmanager
def _without(side: str) -> Iterator[None]:
    """Switch off a feature that no key of a recipe switches off."""
    if side == "without_answer_logits":
        with patch("train.trainer.logits_at", _all_logits), patch("train.base.reading.logits_at", _all_logits):
            yield
    elif side == "without_full_rows":
        with patch.object(packing, "fill_rows", lambda lengths, _: [[index] for index in range(len(lengths))]):
            yield
    else:
        yield


def _all_logits(
    model: Any,
    _causal_lm: PreTrainedModel,
    inputs: dict[str, Tensor],
    rows: Tensor,
    columns: Tensor,
    extra_states: None = None,
) -> Tensor:
    """Stand in for `train.model.logits.logits_at`, with logits for every token."""
    logits: Tensor = model(**inputs).logits[rows, columns]
    return logits


class _ReferencesInEachStep(ContrastiveTrainer):
    """Runs the base beside the adapter in each step, as TRL does by default."""

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        adapted = self.accelerator.unwrap_model(model)
        sequences = list(dict.fromkeys(s for pair in inputs["part"].pairs for s in pair.sequences))
        with torch.no_grad(), adapted.disable_adapter():
            self._base.references.update(self._references(adapted, sequences))
        return super().compute_loss(model, inputs, *rest, **more)

    def _references(self, adapted: Any, sequences: list[TokenSequence]) -> dict[TokenSequence, float]:
        on_cpu = self._packer([[sequence] for sequence in sequences])
        batch = on_cpu.to(self.args.device)
        with self._start(find_blocks(adapted), on_cpu):
            logits = logits_at(adapted, adapted.get_base_model(), batch.inputs, batch.rows, batch.columns)
        sums = batch.answer_sums(target_logprobs(logits, batch.targets)[0]).tolist()
        return dict(zip(sequences, sums, strict=True))


def trl(task: Task, best: bool) -> Work:
    """Return the work of TRL's side.

    Args:
        best: use our blocks, references computed beforehand and no checkpointing, instead of TRL's defaults.
    """
    config = DPOConfig(
        output_dir=task.training.output_dir,
        num_train_epochs=task.training.num_train_epochs,
        per_device_train_batch_size=task.training.per_device_train_batch_size,
        learning_rate=task.training.learning_rate,
        logging_steps=task.training.logging_steps,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=task.training.use_cpu,
        bf16=task.model.dtype is torch.bfloat16,
        precompute_ref_log_probs=best,
    )
    compute_references = DPOTrainer._precompute_ref_logps
    late: list[Work] = []

    def postpone(trainer: DPOTrainer, dataset: datasets.Dataset, *rest: Any) -> datasets.Dataset:
        late.append(lambda: setattr(trainer, "train_dataset", compute_references(trainer, dataset, *rest)))
        return dataset

    # The reference pass belongs to the measured time. Tokenising, which comes before it, does not.
    with patch.object(DPOTrainer, "_precompute_ref_logps", postpone):
        trainer = dpo_trainer(
            model=task.model,
            tokenizer=task.tokenizer,
            rows=task.pairs.as_text(task.tokenizer),
            blocks=task.layers if best else range(len(find_blocks(task.model).modules)),
            lora=task.args.lora,
            config=keep_activations(config) if best else config,
        )

    def work() -> None:
        for each in late:
            each()
        trainer.train()

    return work
