"""Refuse what no key of a recipe can hold: NaN and infinities, enormous integers, control characters."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields

from train.runtime.errors import is_plain, require

# Seeds are the largest numbers that make sense, and NumPy takes them up to here.
_LARGEST = 2**32 - 1


def check_fields(arguments: object) -> None:
    """Check every value of a dataclass, and what its lists and mappings hold.

    Raises:
        RecipeError: a number is not finite or too large for any key, or a text cannot be written on one line.
    """
    for field in fields(arguments):  # type: ignore[arg-type] # (a dataclass)
        if field.init:
            check_plain(field.name, getattr(arguments, field.name))


def check_named(arguments: object, keys: Iterable[str]) -> None:
    """Refuse an empty name.

    Raises:
        RecipeError: one of the keys is text without a letter.
    """
    for key in keys:
        value = getattr(arguments, key)
        require(not isinstance(value, str) or bool(value.strip()), key, repr(value), "a name, or left out")


def check_plain(key: str, value: object) -> None:
    """Check one value; see `check_fields`."""
    match value:
        case str():
            require(is_plain(value), key, repr(value), "text without control characters, on one line")
        case bool():
            pass
        case int():
            require(abs(value) <= _LARGEST, key, f"{value:.3g}", f"an integer of at most {_LARGEST}")
        case float():
            require(math.isfinite(value), key, value, "a finite number")
        case list() | tuple():
            for each in value:
                check_plain(key, each)
        case Mapping():
            for name, each in value.items():
                check_plain(f"{key}.{name}", each)
