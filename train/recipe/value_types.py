"""Read a YAML recipe strictly: no duplicate keys, no environment variables, every value of its key's type."""

import contextlib
import enum
import types
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from data.files import shown
from train.runtime.errors import RecipeError

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    dict: "a mapping",
    types.NoneType: "null",
}


# Characters of a recipe; nobody writes more, and a device file has no end.
_LONGEST = 1_000_000
# What PyYAML raises for a value that its tag does not fit, as in `!!int x` or a 31st of February.
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


class _UniqueKeyLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few lines of aliases to aliases make a value of billions of items.
            line = self.peek_event().start_mark.line + 1
            raise RecipeError(f"line {line}: aliases are not allowed; write the value out")
        return super().compose_node(parent, index)  # type: ignore[no-any-return] # (no hints)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise RecipeError(f"line {line}: the key {shown(key)} should be text")
            if key in seen:
                raise RecipeError(f"line {line}: the key {key!r} stands there twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        RecipeError: there is no such file, it is not YAML or not a mapping, or it holds a duplicate key or `env`,
            which TRL would obey.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise RecipeError(f"it should have at most {_LONGEST:,} characters")
        recipe = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}") from None
    except RecipeError as error:
        raise RecipeError(f"recipe {path}, {error}") from None
    except _NO_YAML as error:
        raise RecipeError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise RecipeError(f"recipe {path} should be a mapping of keys to values")
    if "env" in recipe:
        raise RecipeError(f"recipe {path}: 'env' is not allowed; set environment variables in the shell")
    return recipe


def check_value(key: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type that `hint` asks for.

    An int serves as a float, and so does a string such as `1e-4`, which YAML reads as text. A bool never serves as a
    number.

    Raises:
        RecipeError: the value is of another type, or not among the choices.
    """
    adapter = TypeAdapter(_as_read(hint), config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError:
        raise RecipeError(f"recipe: {key}: {shown(value)} should be {_describe(hint)}") from None


def _as_read(hint: Any) -> Any:
    """Return `hint` as YAML can give it: an enum by its values, and a float as text too."""
    inner = get_args(hint)
    if hint is float:
        return Annotated[float, BeforeValidator(_number)]
    if _is_enum(hint):
        return Literal[tuple(member.value for member in hint)]
    if _is_union(hint):
        enums = [option for option in inner if _is_enum(option)]
        # `SchedulerType | str` means the enum's values.
        return reduce(or_, (_as_read(option) for option in inner if not (enums and option is str)))
    return list[_as_read(inner[0])] if get_origin(hint) is list else hint  # type: ignore[misc] # (made at run time)


def _number(value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _describe(hint: Any) -> str:
    inner = get_args(hint)
    if _is_union(hint):
        enums = [option for option in inner if _is_enum(option)]
        return " or ".join(_describe(option) for option in (enums or inner))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, inner))
    if get_origin(hint) is list:
        return f"a list, each item {_describe(inner[0])}"
    if _is_enum(hint):
        return "one of " + ", ".join(str(member.value) for member in hint)
    return _NAMES.get(hint, str(hint))
