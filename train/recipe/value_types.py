"""Read a YAML recipe strictly: no duplicate keys, no environment, every value of its key's type."""

import enum
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from train.runtime.errors import RecipeError

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    dict: "a mapping",
    types.NoneType: "null",
}


class _UniqueKeyLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise RecipeError(f"line {key_node.start_mark.line + 1}: the key {key!r} stands there twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError: no such file, not YAML, not a mapping, a duplicate key, or `env`, which TRL would obey.
    """
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}") from None
    except RecipeError as error:
        raise RecipeError(f"recipe {path}, {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise RecipeError(f"recipe {path} should be a mapping of keys to values")
    if "env" in recipe:
        raise RecipeError(f"recipe {path}: 'env' is not allowed; set environment variables in the shell")
    return recipe


def check_value(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` wants it.

    An int serves as a float, and so does a string such as `1e-4`, which YAML takes for text; a bool never as a number.

    Raises:
        RecipeError: the value is of another type, or not among the choices.
    """
    try:
        return _convert(value, hint)
    except TypeError:
        raise RecipeError(f"recipe: {key}: {value!r} should be {_describe(hint)}") from None


def _convert(value: Any, hint: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, inner)
    if origin is Literal:
        return _expect(value in inner and not isinstance(value, bool), value)
    if origin is list or hint is list:
        _expect(isinstance(value, list), value)
        return [_convert(item, inner[0]) for item in value] if inner else value
    if origin is dict or hint is dict:
        return _expect(isinstance(value, dict), value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _expect(value in [member.value for member in hint], value)
    if hint is float:
        return _to_float(value)
    if isinstance(value, bool) and hint is not bool:
        raise TypeError(value)
    return _expect(isinstance(hint, type) and isinstance(value, hint), value)


def _convert_union(value: Any, options: tuple[Any, ...]) -> Any:
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if enums and isinstance(value, str):
        return _convert(value, enums[0])  # `SchedulerType | str` means the enum's values
    for option in options:
        try:
            return _convert(value, option)
        except TypeError:
            continue
    raise TypeError(value)


def _to_float(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise TypeError(value) from None
    _expect(isinstance(value, (int, float)) and not isinstance(value, bool), value)
    return float(value)


def _expect(holds: bool, value: Any) -> Any:
    if not holds:
        raise TypeError(value)
    return value


def _describe(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        enums = [option for option in inner if isinstance(option, type) and issubclass(option, enum.Enum)]
        return " or ".join(_describe(option) for option in (enums or inner))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is list:
        return f"a list, each item {_describe(inner[0])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in hint)
    return _NAMES.get(hint, str(hint))
