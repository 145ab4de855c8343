"""Commands end with one line and exit status 2 after a user's mistake, and with a traceback after ours."""

import logging
import os
import signal
import time
from pathlib import Path

import pytest
import torch.distributed

from data.errors import DataError
from eavss.errors import EavssError
from tests.ranks import on_two_ranks
from train.runtime.command import Parser, answer_early, check_is_file, exit_status
from train.runtime.errors import HubError, MachineError, ModelError, RecipeError


@pytest.mark.parametrize("error", [RecipeError, DataError, EavssError, ModelError, HubError, MachineError])
def test_a_users_mistake_is_one_line(error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error("key: 3 should be 4")

    assert exit_status(command) == 2
    assert capsys.readouterr().err == "error: key: 3 should be 4\n"


def test_our_own_mistake_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 / 0)


def test_ctrl_c_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    assert exit_status(command) == 130
    error = capsys.readouterr().err
    assert error.startswith("stopped: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_sigterm_is_one_line_and_leaves_nothing_half_done(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a scheduler sends it; `except Exception` on the way does not keep it, and `finally` runs."""
    cleared = []

    def command() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except Exception:
            pytest.fail("it was kept")
        finally:
            cleared.append(True)

    before = signal.getsignal(number)
    assert exit_status(command) == 143
    assert cleared == [True]
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(number) is before


def test_a_rank_that_is_left_alone_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """The other one has ended without a word, as on a machine that is lost."""

    def work(rank: int) -> int:
        return rank or exit_status(lambda: torch.distributed.barrier())

    assert on_two_ranks(work) == [1, 1]
    assert capfd.readouterr().err.count("stopped: another rank has ended, or does not answer: what was written") == 1


def test_a_command_that_ends_well_gives_zero() -> None:
    assert exit_status(lambda: None) == 0


def test_what_the_data_warn_of_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        for _ in range(2):
            logging.getLogger("data.preferences").warning("%s: %d rows were left out", "own.jsonl", 3)

    assert exit_status(command) == exit_status(command) == 0
    assert capsys.readouterr().out == "note: own.jsonl: 3 rows were left out\n" * 2
    assert logging.getLogger("data").handlers == []


def test_an_unknown_option_is_a_recipe_error() -> None:
    parser = Parser("A command.")
    parser.add_argument("--json")
    with pytest.raises(RecipeError, match="command line: unrecognized arguments: --jsn x"):
        parser.parse_args(["--jsn", "x"])


def test_a_folder_cannot_be_written_as_a_file(tmp_path: Path) -> None:
    check_is_file("--json", None)
    check_is_file("--json", tmp_path / "new.json")
    with pytest.raises(RecipeError, match=r"--json: .* is a folder"):
        check_is_file("--json", tmp_path)


def test_a_mistake_is_answered_early(capsys: pytest.CaptureFixture[str]) -> None:
    def check() -> None:
        raise DataError("dataset: no file none.jsonl")

    with pytest.raises(SystemExit) as ended:
        answer_early(check)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: dataset: no file none.jsonl\n"
    answer_early(lambda: None)
