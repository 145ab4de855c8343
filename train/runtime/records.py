"""Read JSON that a run or a script has written, and refuse what has another form."""

import json
import math
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from data.files import shown
from train.runtime.errors import RecipeError, single_line

Kind = TypeVar("Kind")
_NAMES: dict[Any, str] = {
    **{bool: "true or false", int: "an integer", float: "a number", str: "text"},
    **{types.NoneType: "null", dict: "an object", list: "a list"},
}
_hints = cache(get_type_hints)


class Record(dict[str, Any]):
    """A JSON object. To need a key that it lacks is a user's mistake, since files of earlier versions lack some."""

    place: Path

    def __missing__(self, key: str) -> Any:
        raise RecipeError(f"{self.place} has no {key!r}, as a file of this name that eavss has written would have")


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """Read one JSON value whose parts, as far as they are there, have the types of `kind`.

    Args:
        path: the file.
        kind: a TypedDict, or a list of some.

    Raises:
        ValueError: there is no such file, it is no JSON, or a value has another type; the message says where.
    """
    return _checked(_text(path), path, kind, finite=True)


def read_records(path: Path, kind: type[Kind]) -> list[Kind]:
    """Read a file with such a value on each line; its numbers may be NaN.

    Raises:
        ValueError: see `read_record`; the message begins with the number of the line.
    """
    found = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        try:
            if line.strip():
                found.append(_checked(line, path, kind, finite=False))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return found


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():  # a folder, or a device, which may have no end
        raise ValueError("it should be a file")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{error.strerror}") from None


def _checked(text: str, place: Path, kind: type[Kind], finite: bool) -> Kind:
    def record(found: dict[str, Any]) -> Record:
        made = Record(found)
        made.place = place
        return made

    number: Callable[[str], float] = _finite if finite else float
    try:
        value: Kind = json.loads(text, object_hook=record, parse_float=number, parse_constant=number)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    for problem in _problems(value, kind, ""):
        raise ValueError(single_line(problem))
    return value


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"it holds {text}, which is no finite number")
    return float(text)


def _problems(value: Any, hint: Any, where: str) -> Iterator[str]:
    """Yield what has another type than `hint`, with its keys and indices."""
    inner = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        found = [next(_problems(value, option, where), None) for option in inner]
        yield from [] if None in found else filter(None, found[:1])
    elif is_typeddict(hint) and isinstance(value, dict):
        for key, of_key in _hints(hint).items():
            if key in value:
                yield from _problems(value[key], of_key, f"{where}.{key}")
    elif get_origin(hint) is dict and isinstance(value, dict):
        for key, each in value.items():
            yield from _problems(each, inner[1], f"{where}.{key}")
    elif get_origin(hint) is list and isinstance(value, list):
        for number, each in enumerate(value):
            yield from _problems(each, inner[0], f"{where}.{number}")
    elif not _fits(value, hint):
        yield f"{where.lstrip('.') or 'the whole'} is {shown(value)}, where {_described(hint)} would be right"


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str | int) and value in get_args(hint)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return hint is Any or (isinstance(hint, type) and not is_typeddict(hint) and isinstance(value, hint))


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    kind = dict if is_typeddict(hint) else get_origin(hint) or hint
    return _NAMES.get(kind, str(kind))
