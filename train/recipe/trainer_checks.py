"""Check the Trainer's arguments before anything is computed, where it would find out after hours, or never."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from transformers import IntervalStrategy, Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import HubStrategy

from train.recipe.plain_values import check_fields, check_named
from train.recipe.ranges import check_trainer_ranges
from train.recipe.settings import Quantization
from train.runtime.errors import RecipeError, require

# Keys that may be text only because the command line has no mappings.
_MAPPINGS = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs", "lr_scheduler_kwargs")
_CHECKPOINTING = {"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"}


def check_training(training: TrainingArguments) -> None:
    """Refuse values that the Trainer would take, and that would end a run later or make no sense in it.

    Raises:
        RecipeError: there is one.
    """
    check_fields(training)
    check_named(training, ("output_dir", "hub_model_id", "hub_revision", "resume_from_checkpoint"))
    check_trainer_ranges(training)
    for field in fields(training):
        value, choices = getattr(training, field.name), field.metadata.get("choices")
        known = value is None or choices is None or value in choices
        require(known, field.name, repr(value), f"one of {', '.join(map(str, choices or ()))}")
    for key in _MAPPINGS:
        value = getattr(training, key)
        require(value is None or isinstance(value, Mapping), key, repr(value), "a mapping")
    for key in _MAPPINGS[:2]:
        unknown = sorted(set(getattr(training, key) or {}) - _CHECKPOINTING)
        require(not unknown, key, unknown, f"among {', '.join(sorted(_CHECKPOINTING))}")
    _try_optimiser(training)
    steps = (training.max_steps, training.num_train_epochs)
    require(max(steps) > 0, "max_steps, num_train_epochs", steps, "above 0, one of them")
    evaluation_is_ours = IntervalStrategy(training.eval_strategy) is IntervalStrategy.NO
    require(evaluation_is_ours, "eval_strategy", training.eval_strategy, "left out: evaluate_on names the sets")
    # Launchers print the command line, and checkpoints keep it, so a token there would leak.
    if training.hub_token is not None:
        raise RecipeError("hub_token: should be left out; set HF_TOKEN in the environment, or run `hf auth login`")
    lacking = [name for name in training.report_to or () if name not in get_available_reporting_integrations()]
    require(not lacking, "report_to", lacking, "none, or trackers that are installed (tensorboard, wandb, trackio)")
    at_the_end = HubStrategy(training.hub_strategy) in (HubStrategy.EVERY_SAVE, HubStrategy.END)
    require(at_the_end, "hub_strategy", training.hub_strategy, "left out: a run is pushed once, at its end")


def check_packing(quantization: Quantization | None, training: TrainingArguments) -> None:
    """Refuse packed weights where DeepSpeed divides weights among the ranks.

    Raises:
        RecipeError: the recipe asks for both.
    """
    if quantization and training.deepspeed and training.hf_deepspeed_config.is_zero3():
        key = f"load_in_{quantization.bits}bit"
        raise RecipeError(
            f"{key}: ZeRO-3 cannot divide packed weights; take recipes/deepspeed/zero2.json, or leave {key} out"
        )


def _try_optimiser(training: TrainingArguments) -> None:
    """Make the optimiser and the schedule for one number, since only they know their options.

    Raises:
        RecipeError: they refuse them.
    """
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(training)
        optimiser = kind([torch.nn.Parameter(torch.zeros(1))], **options)
        schedule: Any = training.lr_scheduler_kwargs  # a mapping by now
        get_scheduler(training.lr_scheduler_type, optimiser, 1, 2, scheduler_specific_kwargs=schedule)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError, AssertionError) as error:
        raise RecipeError(
            "optim, optim_args, lr_scheduler_type, lr_scheduler_kwargs: their values should fit each other: "
            f"{' '.join(str(error).split())}"
        ) from None
