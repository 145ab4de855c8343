"""Make the Trainer's arguments from what a recipe gives and what the machine has, and copy them with other values."""

import copy
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations

from train.recipe.plain_values import check_fields
from train.recipe.settings import Dtype
from train.recipe.trainer_checks import check_choices
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require, single_line
from train.runtime.hardware import choose_dtype

# What TrainingArguments' own checks raise.
_REFUSED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, ImportError, OSError)
# Keys that may be text only because the command line has no mappings.
_MAPPINGS = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs", "lr_scheduler_kwargs")
_CHECKPOINTING = {"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"}


def make_training(dtype: Dtype, given: Mapping[str, object]) -> TrainingArguments:
    """Make the Trainer's arguments, and check in them what needs torch or the machine.

    Args:
        dtype: the recipe's.
        given: the Trainer's keys that the recipe or the command line gives (`train.recipe.parse.read`).

    Raises:
        RecipeError: the class or what it stands for refuses a value.
    """
    values: dict[str, Any] = {
        "use_cpu": not torch.accelerator.is_available(),
        "bf16": choose_dtype(dtype) is torch.bfloat16,
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
    }
    values |= given
    if "RANK" not in os.environ and values.pop("deepspeed", None):
        say("started without a launcher: one process, DeepSpeed is off")
    try:
        training = TrainingArguments(**values)
    except _REFUSED as error:
        raise RecipeError(f"the keys of the Trainer: {single_line(str(error))}") from None
    _check(training)
    return training


def _check(training: TrainingArguments) -> None:
    """Refuse values that the Trainer would take, and that would end a run later; see `train.recipe.trainer_checks`."""
    check_fields(training)  # again, since the class has read mappings out of text
    check_choices(training, TrainingArguments)  # again, since the class computes some choices
    for key in _MAPPINGS:
        value = getattr(training, key)
        require(value is None or isinstance(value, Mapping), key, repr(value), "a mapping")
    for key in _MAPPINGS[:2]:
        unknown = sorted(set(getattr(training, key) or {}) - _CHECKPOINTING)
        require(not unknown, key, unknown, f"among {', '.join(sorted(_CHECKPOINTING))}")
    _try_optimiser(training)
    lacking = [name for name in training.report_to or () if name not in get_available_reporting_integrations()]
    require(not lacking, "report_to", lacking, "none, or trackers that are installed (tensorboard, wandb, trackio)")


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


def with_values(training: TrainingArguments, **values: object) -> TrainingArguments:
    """Return a copy of the Trainer's arguments with some of them changed."""
    changed = copy.copy(training)
    for key, value in values.items():
        setattr(changed, key, value)
    return changed
