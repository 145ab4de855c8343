"""TRL's DPOTrainer on our contrast pairs, the peer that a run and the training benchmark are measured against."""

from collections.abc import Mapping, Sequence

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl import DPOConfig, DPOTrainer

from train.comparison.trl_config import trl_config
from train.losses import LossWeights
from train.model.lora import lora_config
from train.recipe.settings import LoraSettings


def dpo_trainer(
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, str]],
    blocks: Sequence[int],
    lora: LoraSettings,
    config: DPOConfig,
) -> DPOTrainer:
    """Return TRL's trainer for some pairs, with LoRA of our shape on the blocks named by their indices.

    Args:
        model: the base, which gets the adapter.
        rows: the pairs as text (`train.batching.pairs.ContrastPairs.as_text`).
        config: TRL's arguments. With `precompute_ref_log_probs` the references are computed in this call.
    """
    config.max_length = None  # the rows are cut already; by default TRL cuts or drops those of over 1024 tokens
    return DPOTrainer(
        model,
        args=config,
        train_dataset=datasets.Dataset.from_list([dict(row) for row in rows]),
        processing_class=tokenizer,
        peft_config=lora_config(model, blocks, lora),
    )


def dpo_config(training: TrainingArguments, weights: LossWeights, *, steps: int, pairs: int) -> DPOConfig:
    """Return TRL's arguments for a run's loss and schedule, with references that are computed beforehand.

    Args:
        training: the run's arguments.
        weights: the run's loss weights; TRL has no replay and no InfoNCE.
        steps: the number of optimiser steps.
        pairs: the number of pairs in a step.
    """
    return trl_config(
        DPOConfig,
        training,
        steps=steps,
        batch=pairs,
        beta=weights.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[weights.dpo, weights.ce],
        precompute_ref_log_probs=True,
    )
