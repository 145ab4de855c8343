"""Check what a recipe gives of the Trainer's arguments, where the Trainer would find out after hours, or never."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import SimpleNamespace
from typing import Any

from train.recipe.plain_values import check_named, check_plain
from train.recipe.ranges import check_trainer_ranges
from train.recipe.settings import Quantization
from train.recipe.trainer_fields import trainer_fields
from train.runtime.errors import RecipeError, require


def check_values(given: Mapping[str, object]) -> None:
    """Refuse values that the Trainer would take, and that would end a run later or make no sense in it.

    Args:
        given: values by key; the other keys have their defaults.

    Raises:
        RecipeError: there is one.
    """
    for key, value in given.items():
        check_plain(key, value)
    defaults: dict[str, object] = {
        field.name: None if field.default is MISSING else field.default for field in fields(trainer_fields())
    }
    training = SimpleNamespace(**{**defaults, **given})
    check_named(training, ("output_dir", "hub_model_id", "hub_revision", "resume_from_checkpoint"))
    check_trainer_ranges(training)
    check_choices(training, trainer_fields())
    steps = (training.max_steps, training.num_train_epochs)
    require(max(steps) > 0, "max_steps, num_train_epochs", steps, "above 0, one of them")
    evaluation_is_ours = training.eval_strategy == "no"
    require(evaluation_is_ours, "eval_strategy", training.eval_strategy, "left out: evaluate_on names the sets")
    # Launchers print the command line, and checkpoints keep it, so a token there would leak.
    if training.hub_token is not None:
        raise RecipeError("hub_token: should be left out; set HF_TOKEN in the environment, or run `hf auth login`")
    at_the_end = training.hub_strategy in ("every_save", "end")
    require(at_the_end, "hub_strategy", training.hub_strategy, "left out: a run is pushed once, at its end")


def check_packing(quantization: Quantization | None, training: Any) -> None:
    """Refuse packed weights where DeepSpeed divides weights among the ranks.

    Args:
        training: the Trainer's arguments.

    Raises:
        RecipeError: the recipe asks for both.
    """
    if quantization and training.deepspeed and training.hf_deepspeed_config.is_zero3():
        key = f"load_in_{quantization.bits}bit"
        raise RecipeError(
            f"{key}: ZeRO-3 cannot divide packed weights; take recipes/deepspeed/zero2.json, or leave {key} out"
        )


def check_choices(training: object, kind: type[Any]) -> None:
    """Check every value that has to be one of some.

    Args:
        training: has the values.
        kind: the dataclass whose fields name the choices.

    Raises:
        RecipeError: a value is none of its choices.
    """
    for field in fields(kind):
        value, choices = getattr(training, field.name), field.metadata.get("choices")
        known = value is None or choices is None or value in choices
        require(known, field.name, repr(value), f"one of {', '.join(map(str, choices or ()))}")
