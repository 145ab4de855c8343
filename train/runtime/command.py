"""What all commands share: options are parsed strictly, and a user's mistake is one line and exit status 2."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import datasets
import transformers

from data.errors import DataError
from eavss.errors import EavssError
from train.runtime.distributed import fail, is_main_process, say
from train.runtime.errors import HubError, ModelError, RecipeError
from train.runtime.hardware import prepare_process

# As shells report SIGINT.
_INTERRUPTED = 130
_USER_ERRORS = (RecipeError, DataError, EavssError, ModelError, HubError)


class Parser(argparse.ArgumentParser):
    """Parses a script's own options and shows its docstring as the help; a mistake raises a `RecipeError`."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage; argparse calls this."""
        raise RecipeError(f"command line: {message}")


def check_is_file(option: str, path: Path | None) -> None:
    """Check that `path` can be written as a file, before anything is computed.

    Raises:
        RecipeError: `path` is a folder.
    """
    if path is not None and path.is_dir():
        raise RecipeError(f"{option}: {path} is a folder; it should be a file")


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status: 0, 2 after a user's mistake, which is printed, or 130 after Ctrl-C."""
    prepare_process()
    _quiet_other_ranks()
    try:
        with _shown_notes():
            command()
    except _USER_ERRORS as error:
        return fail(str(error))
    except KeyboardInterrupt:
        if is_main_process():
            print(
                "stopped: what was written is whole; a run goes on with --resume_from_checkpoint true", file=sys.stderr
            )
        return _INTERRUPTED
    return 0


class _Notes(logging.Handler):
    """Prints each message once, because several stages may read the same file."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            say(f"note: {message}")


@contextmanager
def _shown_notes() -> Iterator[None]:
    """Print what the package `data` warns of while it reads rows."""
    logger, notes = logging.getLogger("data"), _Notes()
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


def _quiet_other_ranks() -> None:
    """Show the progress bars of one rank only, and none for reading files."""
    datasets.disable_progress_bars()
    if not is_main_process():
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
