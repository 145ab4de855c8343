"""What every command of the project does alike: a user's mistake is one line and the exit status 2."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import datasets
import transformers

from data.errors import DataError
from eavss.errors import EavssError
from train.runtime.distributed import fail, is_main_process
from train.runtime.errors import HubError, ModelError, RecipeError
from train.runtime.hardware import prepare_process

_USER_ERRORS = (RecipeError, DataError, EavssError, ModelError, HubError)


class Parser(argparse.ArgumentParser):
    """Reads a script's own options, with its docstring as the help; a mistake is a `RecipeError`."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise RecipeError(f"command line: {message}")


def check_is_file(option: str, path: Path | None) -> None:
    """Told before anything is computed, not when it is to be written.

    Raises:
        RecipeError: `path` is a folder.
    """
    if path is not None and path.is_dir():
        raise RecipeError(f"{option}: {path} is a folder; it should be a file")


def exit_status(command: Callable[[], object]) -> int:
    """Run a command on this process's share of the machine: 0, or 2 after a user's mistake, which is printed."""
    prepare_process()
    _quiet_other_ranks()
    try:
        command()
    except _USER_ERRORS as error:
        return fail(str(error))
    return 0


def _quiet_other_ranks() -> None:
    """One rank's progress bars are enough, and none for reading a file."""
    datasets.disable_progress_bars()
    if not is_main_process():
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
