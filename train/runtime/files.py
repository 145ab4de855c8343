"""Write files that are complete if they exist: under a temporary name first, then renamed."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from train.runtime.errors import RecipeError

# Bytes that are written to find out whether a disk has room.
_TRIAL = 1 << 16


def cache_folder() -> Path:
    """Return the folder for results that other runs can reuse: `$EAVSS_CACHE`, or `~/.cache/eavss`."""
    return Path(os.environ.get("EAVSS_CACHE") or Path.home() / ".cache" / "eavss")


def size_and_hash(path: Path) -> list[int | str]:
    """Return a file's size and its SHA-256, which tell whether it is still what it was."""
    with open(path, "rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def check_writable(option: str, path: Path, *, folder: bool) -> None:
    """Check that a file or a folder can be written, before anything is computed. Nothing is left of the trial.

    Args:
        option: what names the path.
        path: a path that may not exist yet.
        folder: whether it is to be a folder.

    Raises:
        RecipeError: it is of the other kind, or the disk is full, read-only or not this user's.
    """
    try:
        if path.exists() and path.is_dir() != folder:
            is_, should = ("a file", "a folder") if folder else ("a folder", "a file")
            raise RecipeError(f"{option}: {path} is {is_}; it should be {should}")
        if not folder and path.exists() and not path.is_file():  # to replace a device would break the machine
            raise RecipeError(f"{option}: {path} is a device; it should be a file")
        with TemporaryFile(dir=nearest_folder(path if folder else path.parent)) as file:
            file.write(bytes(_TRIAL))
    except OSError as error:
        raise RecipeError(f"{option}: {path} cannot be written: {error.strerror}; name another place") from None


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or, if it does not exist yet, the nearest one above that does."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as a full disk's error, which names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write a line of JSON for each row, with letters as they are."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
