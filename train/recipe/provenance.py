"""Record how a run was started, so that it can be started again."""

import os
import shlex
import sys
from dataclasses import MISSING, asdict, fields
from enum import Enum

import yaml
from transformers import TrainingArguments

from train.recipe.arguments import EavssArguments

# Keys that belong to the machine or the moment, not to the recipe.
_LEFT_OUT = (
    *("output_dir", "use_cpu", "bf16", "local_rank", "deepspeed", "resume_from_checkpoint", "disable_tqdm"),
    "fresh",
)


def recipe_text(args: EavssArguments, training: TrainingArguments) -> str:
    """Return the run as a recipe: the keys of ours, and the Trainer's keys that are not at their defaults."""
    changed = {}
    for each in fields(TrainingArguments):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        value = getattr(training, each.name, default)
        value = value.value if isinstance(value, Enum) else value
        plain = isinstance(value, bool | int | float | str)
        if each.init and each.name not in _LEFT_OUT and plain and value != default:
            changed[each.name] = value
    zero = {"deepspeed": training.deepspeed} if training.deepspeed else {}
    own = {key: value for key, value in asdict(args).items() if key not in _LEFT_OUT}
    return yaml.safe_dump(own | changed | zero, sort_keys=False, allow_unicode=True)


def command_line() -> str:
    """Return the command that started this process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    launcher = f"deepspeed --num_gpus {world}" if "RANK" in os.environ else "python"
    return f"{launcher} {shlex.join(sys.argv)}"
