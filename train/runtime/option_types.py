"""Types of a script's options, for argparse: a wrong word is one line that says what would be right."""

import math
from argparse import ArgumentTypeError
from pathlib import Path

from train.runtime.errors import RecipeError
from train.runtime.files import check_writable


def positive(text: str) -> int:
    """Return an integer of 1 or more."""
    return _between(text, 1, 2**31, "1 or more")


def not_negative(text: str) -> int:
    """Return an integer of 0 or more."""
    return _between(text, 0, 2**31, "0 or more")


def seed_number(text: str) -> int:
    """Return a seed that every library takes."""
    return _between(text, 0, 2**32 - 1, f"an integer between 0 and {2**32 - 1}")


def port_number(text: str) -> int:
    """Return the number of a port."""
    return _between(text, 0, 65535, "a port between 0 and 65535")


def _between(text: str, low: int, high: int, right: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ArgumentTypeError(f"{text} should be {right}")
    return value


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"{text} should be above 0")
    return value


def file_size(text: str) -> str:
    """Return a size such as 5GB, as `save_pretrained` takes it."""
    # Imported here, so that other options do not wait for it.
    from huggingface_hub.serialization._base import parse_size_to_int

    try:
        size = parse_size_to_int(text)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise ArgumentTypeError(f"{text} should be a size such as 500MB or 5GB")
    return text


def new_file(text: str) -> Path:
    """Return the path of a file that can be written, which is found out now and not after the work."""
    try:
        check_writable("the file", Path(text), folder=False)
    except RecipeError as error:
        raise ArgumentTypeError(str(error)) from None
    return Path(text)
