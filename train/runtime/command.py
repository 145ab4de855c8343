"""What all commands share: options are parsed strictly, and a user's mistake is one line and exit status 2."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from safetensors import SafetensorError

from data.errors import DataError
from eavss.errors import EavssError
from train.runtime.distributed import fail, is_main_process, say
from train.runtime.errors import (
    HubError,
    MachineError,
    ModelError,
    RecipeError,
    is_peers_end,
    is_plain,
    machine_error,
)
from train.runtime.files import check_writable
from train.runtime.stopping import Terminated, ending_at_once, follow_launcher

# As shells report SIGINT and SIGTERM, and what is worth a second try.
_INTERRUPTED, _TERMINATED, _ALONE = 130, 143, 1
_AGAIN = "what was written is whole; a run goes on with --resume_from_checkpoint auto"
_USER_ERRORS = (RecipeError, DataError, EavssError, ModelError, HubError, MachineError)


class Parser(argparse.ArgumentParser):
    """Parses a script's own options and shows its docstring as the help; a mistake raises a `RecipeError`."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def,override] # (argparse's own)
        """Refuse words that no option can take, and parse the others."""
        for word in sys.argv[1:] if args is None else args:
            if not is_plain(word):
                raise RecipeError(f"command line: {word!r} should be text without control characters")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage; argparse calls this."""
        raise RecipeError(f"command line: {message}")


def check_is_file(option: str, path: Path | None) -> None:
    """Check that `path` can be written as a file, before anything is computed.

    Raises:
        RecipeError: see `check_writable`.
    """
    if path is not None:
        check_writable(option, path, folder=False)


class OutputFile(argparse.Action):
    """Stores the path of a file to write, after `check_is_file`: `add_argument("--json", action=OutputFile)`."""

    def __call__(self, parser, namespace, values, option_string=None):  # type: ignore[no-untyped-def,override] # (argparse's own)
        """Check the path and store it; argparse calls this."""
        path = Path(values)
        check_is_file(option_string, path)
        setattr(namespace, self.dest, path)


def answer_early(check: Callable[[], object]) -> None:
    """Answer `--help` and a mistake in the command line or the recipe, and return if there is nothing to answer.

    A script calls it, where it is the program, between the imports that its options need and those of the libraries
    that compute, which take seconds.

    Args:
        check: parses the command line, and raises what is wrong with it.
    """
    try:
        check()
    except _USER_ERRORS as error:
        sys.exit(fail(str(error)))


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status.

    It is 0, 2 after a user's mistake, which is printed, 130 after Ctrl-C, 143 after SIGTERM or SIGUSR1, or 1 where
    another rank is gone.
    """
    # Imported here, since it imports torch: a script's options are checked before that (`answer_early`).
    from train.runtime.libraries import prepare_libraries

    prepare_libraries()
    follow_launcher()
    try:
        with _shown_notes(), ending_at_once():
            command()
    except _USER_ERRORS as error:
        return fail(str(error))
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_peers_end(error):
            # Any rank may be the only one that is left on its machine.
            print(f"stopped: another rank has ended, or does not answer: {_AGAIN}", file=sys.stderr, flush=True)
            return _ALONE
        if (said := machine_error(error)) is None:
            raise
        return fail(said)
    except (KeyboardInterrupt, Terminated) as asked:
        if is_main_process():
            stopped = " ".join(["stopped", *map(str, asked.args)])
            print(f"{stopped}: {_AGAIN}", file=sys.stderr)
        return _INTERRUPTED if isinstance(asked, KeyboardInterrupt) else _TERMINATED
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
    """Print what `data` warns of while it reads rows, and `eavss` of a model that takes no shortcut."""
    loggers, notes = [logging.getLogger(package) for package in ("data", "eavss")], _Notes()
    for logger in loggers:
        logger.addHandler(notes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(notes)
