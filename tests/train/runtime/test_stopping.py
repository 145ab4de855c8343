"""A request to end waits for the step in training, and a rank ends with its launcher."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from train.runtime import stopping
from train.runtime.stopping import Terminated, ending_after_step, ending_at_once, is_orphaned, launcher_chain

SLEEPER = "import time; time.sleep(60)"


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_in_training_a_request_is_noted(number: int) -> None:
    """The launcher passes it on a moment later, and that is no second request."""
    with ending_at_once():
        with ending_after_step() as asked:
            assert not asked()
            ask(number)
            ask()
            assert asked()
        with pytest.raises(Terminated):  # as it is outside training
            ask(number)


def test_the_second_request_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_SAME_REQUEST", 0.0)
    with ending_after_step():
        ask()
        with pytest.raises(Terminated):
            ask()


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """A command, a launcher that it starts, and a rank that the launcher starts, named as DeepSpeed names them."""
    rank = f"subprocess.Popen([sys.executable, '-c', '{SLEEPER}'])"
    launcher = f"import subprocess, sys, time; {rank}; time.sleep(60)"
    words = [sys.executable, "-c", launcher, "deepspeed.launcher.launch"]
    code = f"import subprocess, time; subprocess.Popen({words!r}); time.sleep(60)"
    with subprocess.Popen(["deepspeed", "-c", code], executable=sys.executable) as started:
        command = psutil.Process(started.pid)
        while len(found := command.children(recursive=True)) < 2:
            pass
        members = [command, *found]
        yield members
        for member in members:
            if member.is_running():
                member.kill()


@pytest.mark.parametrize("ends", [0, 1])
def test_a_rank_is_an_orphan_once_the_command_or_its_launcher_has_ended(
    ends: int, family: list[psutil.Process]
) -> None:
    chain = launcher_chain(family[2])
    assert [process.pid for process, _ in chain] == [family[2].pid, family[1].pid]
    assert not is_orphaned(chain)
    family[ends].kill()
    while family[ends].is_running() and family[ends].status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_orphaned(chain)


def test_an_orphan_that_hears_no_signal_ends_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a rank that is gone."""
    monkeypatch.setattr(stopping, "_LAST_STEP", 0.1)
    if not (process := os.fork()):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setattr(stopping, "launcher_chain", lambda process: [(process, process.ppid() + 1)])
        stopping.follow_launcher()
        signal.pause()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 143


def test_a_shell_above_the_launcher_may_end(family: list[psutil.Process]) -> None:
    """`torchrun` and `python -m deepspeed.launcher.launch` are started by a shell, which may go away."""
    assert [process.pid for process, _ in launcher_chain(family[1])] == [family[1].pid]
