"""Write docs/configuration.md from the recipe's keys: their groups, types, defaults and help.

    python scripts/write_configuration.py

A group of keys is named by the comment above it in `train.recipe.arguments.EavssArguments`.
"""

import inspect
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from train.recipe.arguments import REPOSITORY, EavssArguments
from train.recipe.model_arguments import ModelArguments
from train.recipe.value_types import read_recipe
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.files import write_text

TARGET = REPOSITORY / "docs" / "configuration.md"

_NAMES = {bool: "true or false", int: "integer", float: "number", str: "text", types.NoneType: "null"}
_INTRODUCTION = """\
# Configuration

<!-- Written by scripts/write_configuration.py. Do not edit by hand. -->

A recipe is one YAML file of keys and values. [`recipes/`](../recipes) holds one for each data set. A command reads it
with `--config FILE`, and `--KEY VALUE` on the command line overrides it. An unknown key, a repeated key or a value of
the wrong type is an error that names the key.

This page lists the keys of our own. All other keys are fields of `transformers.TrainingArguments` and mean what they
mean there. Keys that TRL or PEFT also has keep their names and meanings.
"""
_TRAINER_KEYS = """\
## Keys of the Trainer

The recipes set these keys of `transformers.TrainingArguments`: {keys}. A run that is pushed to the Hub also takes
`push_to_hub`, `hub_model_id`, `hub_private_repo` and `hub_revision`.

These keys are refused:

- `eval_strategy`, because `evaluate_on` names what is evaluated, before and after training.
- `hub_token`, because checkpoints would keep it. Set `HF_TOKEN` in the environment or run `hf auth login`.
- `hub_strategy` other than `end` and `every_save`, because a run is pushed once, at its end.
"""


def configuration() -> str:
    """Return the text of docs/configuration.md."""
    parts = [_INTRODUCTION]
    for group, keys in _groups().items():
        rows = "\n".join(_row(key) for key in keys)
        parts.append(f"## {group}\n\n| key | type | default | what it does |\n|---|---|---|---|\n{rows}\n")
    parts.append(_TRAINER_KEYS.format(keys=", ".join(f"`{key}`" for key in _recipes_trainer_keys())))
    return "\n".join(parts)


def _groups() -> dict[str, list[str]]:
    """Return the keys by the comment that stands above them in the sources of `EavssArguments` and what it extends."""
    groups: dict[str, list[str]] = {}
    group = None
    for line in (inspect.getsource(ModelArguments) + inspect.getsource(EavssArguments)).splitlines():
        if line.startswith("    # "):
            group = line.removeprefix("    # ").partition(",")[0]
        elif group and (key := re.match(r"    (\w+): ", line)):
            groups.setdefault(group, []).append(key[1])
    return groups


def _row(key: str) -> str:
    field: Field[Any] = EavssArguments.__dataclass_fields__[key]
    words = (f"`{key}`", type_name(get_type_hints(EavssArguments)[key]), _default(field), field.metadata["help"])
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def type_name(hint: Any) -> str:
    """Describe a type hint in words: `list[int] | None` is "list of integers, or null"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, types.UnionType):
        return ", or ".join(type_name(option) for option in inner)
    if origin is list:
        return f"list of {type_name(inner[0])}s"
    return _NAMES[hint]


def _default(field: "Field[Any]") -> str:
    if field.default_factory is not MISSING:
        value = field.default_factory()
    elif field.default is MISSING:
        return "required"
    else:
        value = field.default
    return f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def _recipes_trainer_keys() -> list[str]:
    """Return the keys in `recipes/*.yaml` that are not ours, in the order in which the recipes name them."""
    ours = {field.name for field in fields(EavssArguments)}
    recipes = [read_recipe(path) for path in sorted((REPOSITORY / "recipes").glob("*.yaml"))]
    return list(dict.fromkeys(key for recipe in recipes for key in recipe if key not in ours))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    Parser(__doc__).parse_args(argv)
    write_text(TARGET, configuration())
    print(f"written: {TARGET.relative_to(REPOSITORY)}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    answer_early(lambda: Parser(__doc__).parse_args())
    sys.exit(run())
