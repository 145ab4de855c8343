"""Turn a recipe and the command line into checked arguments; a mistake in them is one line."""

import difflib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import torch
from transformers import TrainingArguments
from trl import TrlParser

from train.recipe.arguments import NO_RETENTION, REPOSITORY, EavssArguments
from train.recipe.plain_values import check_fields, check_named, check_plain
from train.recipe.settings import Dtype
from train.recipe.trainer_checks import check_packing, check_training
from train.recipe.value_types import check_value, read_recipe
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, single_line
from train.runtime.hardware import choose_dtype

# What TrainingArguments' own checks raise.
_REFUSED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, ImportError, OSError)


def parse(argv: Sequence[str] | None = None) -> tuple[EavssArguments, TrainingArguments]:
    """Read `--config RECIPE` and the command line, which overrides it, into checked arguments.

    Args:
        argv: the command line; the process's own where it is None.

    Raises:
        RecipeError: a key is misspelt, repeated or missing, or a value has the wrong type, choice or range.
    """
    arguments = _split_equals(list(sys.argv[1:] if argv is None else argv))
    _check_flags(arguments)
    parser = _Parser((EavssArguments, TrainingArguments), allow_abbrev=False)  # type: ignore[arg-type] # (TRL's hint)
    path = _take(arguments, "config")
    recipe = {} if path is None else _checked(read_recipe(Path(path)))
    of_recipe = recipe.pop("deepspeed", None)  # in any case, or it would override the command line below
    deepspeed = _take(arguments, "deepspeed") or of_recipe
    dtype = _given(arguments, "dtype") or recipe.get("dtype", "auto")
    parser.set_defaults_with_config(**_machine_values(dtype, deepspeed) | recipe)
    try:
        eavss, training = parser.parse_args_into_dataclasses(arguments)
    except RecipeError:
        raise
    except _REFUSED as error:
        raise RecipeError(f"the keys of the Trainer: {single_line(str(error))}") from None
    check_fields(eavss)
    check_named(eavss, [field.name for field in fields(eavss)])
    check_training(training)
    check_packing(eavss.quantization, training)
    if eavss.retention == NO_RETENTION:
        eavss = replace(eavss, retention=[])
    return eavss, training


class _Parser(TrlParser):
    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"command line: {message}")


def _keys() -> dict[str, Any]:
    return get_type_hints(EavssArguments) | {
        name: hint
        for name, hint in get_type_hints(TrainingArguments).items()
        if any(f.name == name and f.init for f in fields(TrainingArguments))
    }


def _split_equals(argv: list[str]) -> list[str]:
    """Split `--key=value` into two words, because TrlParser refuses `--config=x`."""
    return [part for word in argv for part in (word.split("=", 1) if word.startswith("--") and "=" in word else [word])]


def _check_flags(argv: list[str]) -> None:
    check_plain("command line", argv)
    flags = [word[2:].replace("-", "_") for word in argv if word.startswith("--")]
    for flag in flags:
        if flag in ("config", "help") or flag.removeprefix("no_") in _keys():
            continue
        _check_key(flag, "command line")
    repeated = {flag for flag in flags if flags.count(flag) > 1}
    if repeated:
        raise RecipeError(f"command line: --{min(repeated)} is given twice")


def _check_key(key: str, where: str) -> None:
    if key in _keys():
        return
    nearest = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise RecipeError(f"{where}: unknown key {key!r}{hint}")


def _checked(recipe: dict[str, Any]) -> dict[str, Any]:
    for key in recipe:
        _check_key(key, "recipe")
    hints = _keys()
    return {key: check_value(key, value, hints[key]) for key, value in recipe.items()}


def _given(argv: list[str], key: str) -> str | None:
    """Return the value of `--key value` in `argv`, or None where it is not given."""
    if f"--{key}" not in argv:
        return None
    value = argv[argv.index(f"--{key}") + 1 :][:1]
    if not value or value[0].startswith("--"):
        raise RecipeError(f"command line: --{key}: a value should follow")
    return value[0]


def _take(argv: list[str], key: str) -> str | None:
    """Return the value of `--key value` and remove both words from `argv`."""
    value = _given(argv, key)
    if value is not None:
        position = argv.index(f"--{key}")
        del argv[position : position + 2]
    return value


def _machine_values(dtype: str, deepspeed: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the values that depend on the machine and the launcher; keys of the recipe override them."""
    values: dict[str, Any] = {
        "use_cpu": not torch.accelerator.is_available(),
        "bf16": dtype in get_args(Dtype) and choose_dtype(dtype) is torch.bfloat16,
        "report_to": "none",
    }
    if deepspeed and "RANK" not in os.environ:
        say("started without a launcher: one process, DeepSpeed is off")
    elif isinstance(deepspeed, str):
        values["deepspeed"] = str(_deepspeed_path(deepspeed))
        _check_deepspeed(deepspeed, _read_json(values["deepspeed"]))
    elif deepspeed:
        _check_deepspeed("the recipe's mapping", deepspeed)
        values["deepspeed"] = deepspeed
    return values


def _read_json(path: str) -> object:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _check_deepspeed(name: str, config: object) -> None:
    """Refuse what is no configuration of DeepSpeed, which it would find out after the profile.

    Raises:
        RecipeError: it is none.
    """
    match config:
        case {"zero_optimization": {"stage": 0 | 1 | 2 | 3}}:
            return
    raise RecipeError(f"deepspeed: {name} should be a JSON object with a zero_optimization of stage 0, 1, 2 or 3")


def _deepspeed_path(path: str) -> Path:
    for candidate in (Path(path), REPOSITORY / path):
        if candidate.is_file():
            return candidate
    raise RecipeError(f"deepspeed: no file {path}; recipes/deepspeed holds zero2.json and zero3.json")
