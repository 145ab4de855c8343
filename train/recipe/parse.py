"""Turn a recipe and the command line into checked arguments; a mistake in them is one line.

`read` checks keys, types, choices and ranges, and imports nothing that takes long. `parse` goes on and makes the
Trainer's arguments, whose own checks need torch and the machine.
"""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

from train.recipe.arguments import NO_RETENTION, REPOSITORY, EavssArguments
from train.recipe.plain_values import check_fields, check_named, check_plain
from train.recipe.trainer_checks import check_packing, check_values
from train.recipe.trainer_fields import argument_parser, trainer_fields
from train.recipe.value_types import check_value, read_recipe
from train.runtime.errors import RecipeError

if TYPE_CHECKING:
    from transformers import TrainingArguments

_HELP = {"-h", "--help"}


def parse(argv: Sequence[str] | None = None) -> "tuple[EavssArguments, TrainingArguments]":
    """Read `--config RECIPE` and the command line, which overrides it, into checked arguments.

    Args:
        argv: the command line; the process's own where it is None.

    Raises:
        RecipeError: a key is misspelt, repeated or missing, or a value has the wrong type, choice or range.
    """
    args, given = read(argv)
    from train.recipe.trainer_arguments import make_training  # imports torch and transformers, so after the checks

    training = make_training(args.dtype, given)
    check_packing(args.quantization, training)
    return args, training


def read(argv: Sequence[str] | None = None) -> tuple[EavssArguments, dict[str, Any]]:
    """Return our own arguments, and the Trainer's keys that the recipe or the command line gives; see `parse`."""
    arguments = _split_equals(list(sys.argv[1:] if argv is None else argv))
    _check_flags(arguments)
    path = _take(arguments, "config")
    recipe = {} if path is None else _checked(read_recipe(Path(path)))
    of_recipe = recipe.pop("deepspeed", None)  # in any case, or it would override the command line below
    deepspeed = _take(arguments, "deepspeed") or of_recipe
    values = _given_values(arguments, recipe)
    args = EavssArguments(**{field.name: values.pop(field.name) for field in fields(EavssArguments)})
    check_fields(args)
    check_named(args, [field.name for field in fields(args)])
    if deepspeed:
        values["deepspeed"] = _check_deepspeed(deepspeed) if "RANK" in os.environ else deepspeed
    check_values(values)
    return replace(args, retention=[]) if args.retention == NO_RETENTION else args, values


def _given_values(arguments: list[str], recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all our keys, and of those keys of the Trainer that are given."""

    class Parser(argument_parser()):  # type: ignore[misc] # (a class that is loaded at run time)
        def error(self, message: str) -> NoReturn:
            raise RecipeError(f"command line: {message}")

    parser = Parser((EavssArguments, trainer_fields()), allow_abbrev=False)
    ours = {field.name for field in fields(EavssArguments)}
    if not _HELP & set(arguments):  # the help shows the defaults of all
        for action in parser._actions:
            if action.dest in recipe:
                action.default, action.required = recipe[action.dest], False
            elif action.dest not in ours:
                action.default = argparse.SUPPRESS
    return vars(parser.parse_args(arguments))


@cache
def _keys() -> dict[str, Any]:
    init = {field.name for field in fields(trainer_fields()) if field.init}
    trainers = {name: hint for name, hint in get_type_hints(trainer_fields()).items() if name in init}
    return get_type_hints(EavssArguments) | trainers


def _split_equals(argv: list[str]) -> list[str]:
    """Split `--key=value` into two words, so that all keys are found alike."""
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
    return {key: check_value(key, value, _keys()[key]) for key, value in recipe.items()}


def _take(argv: list[str], key: str) -> str | None:
    """Return the value of `--key value` and remove both words from `argv`; None where it is not given."""
    if f"--{key}" not in argv:
        return None
    position = argv.index(f"--{key}")
    value = argv[position + 1 :][:1]
    if not value or value[0].startswith("--"):
        raise RecipeError(f"command line: --{key}: a value should follow")
    del argv[position : position + 2]
    return value[0]


def _check_deepspeed(value: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the path or the mapping; refuse what is no configuration of DeepSpeed, which it would find out late.

    Raises:
        RecipeError: it is none.
    """
    found = _deepspeed_path(value) if isinstance(value, str) else value
    match _read_json(found) if isinstance(found, str) else found:
        case {"zero_optimization": {"stage": 0 | 1 | 2 | 3}}:
            return found
    name = value if isinstance(value, str) else "the recipe's mapping"
    raise RecipeError(f"deepspeed: {name} should be a JSON object with a zero_optimization of stage 0, 1, 2 or 3")


def _read_json(path: str) -> object:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _deepspeed_path(path: str) -> str:
    for candidate in (Path(path), REPOSITORY / path):
        if candidate.is_file():
            return str(candidate)
    raise RecipeError(f"deepspeed: no file {path}; recipes/deepspeed holds zero2.json and zero3.json")
