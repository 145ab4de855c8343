"""What TRL's trainers are told alike, whichever of them is a run's peer."""

from typing import Any, TypeVar

from transformers import TrainingArguments

Config = TypeVar("Config", bound=TrainingArguments)


def keep_activations(config: Config) -> Config:
    """Switch off the recomputation of activations in the backward pass, which TRL switches on by default."""
    config.activation_checkpointing = config.gradient_checkpointing = False
    return config


def trl_config(kind: type[Config], training: TrainingArguments, *, steps: int, batch: int, **more: Any) -> Config:
    """Return a trainer's arguments of TRL's with a run's schedule; nothing is saved or reported.

    Args:
        kind: the class of the arguments.
        training: the run's arguments.
        steps: the number of optimiser steps.
        batch: pairs or rows in a step.
        more: arguments of this kind alone.
    """
    return keep_activations(
        kind(
            output_dir=training.output_dir,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=training.learning_rate,
            lr_scheduler_type=training.lr_scheduler_type,
            warmup_steps=training.warmup_steps,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed,
            save_strategy="no",
            report_to="none",
            use_cpu=training.use_cpu,
            bf16=training.bf16,
            **more,
        )
    )
