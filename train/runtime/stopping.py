"""Somebody, such as a scheduler, asks the process to end: it ends at once, or in training after the step."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

# Schedulers send one or the other, some of them SIGUSR1 a while before they kill.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# Seconds within which a second signal is the same request. A scheduler sends one to every process, the launcher too,
# which passes it on.
_SAME_REQUEST = 5.0
# Seconds that a rank without a launcher has for a step and a checkpoint.
_LAST_STEP = 600.0
_LAUNCHER, _LAUNCHER_COMMAND = "deepspeed.launcher.launch", "deepspeed"


class Terminated(BaseException):
    """The process is asked to end; no handler of exceptions on the way may keep it."""


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Turn the signals into `Terminated`, so that unfinished files are removed on the way out."""

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise Terminated

    with _handling(end):
        yield


@contextmanager
def ending_after_step() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether the process is asked to end. The second request ends it at once."""
    asked: list[float] = []

    def note(_signal: int, _frame: FrameType | None) -> None:
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > _SAME_REQUEST:
            raise Terminated

    with _handling(note):
        yield lambda: bool(asked)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def follow_launcher() -> None:
    """Ask this rank to end, as SIGTERM does, once its launcher has ended without telling it.

    DeepSpeed's command starts a second process that starts the ranks. A signal that ends the command reaches neither,
    and the ranks would train on, with the output folder locked. A rank that has not ended ten minutes later waits for
    one that is gone, where it hears no signal, and ends without a checkpoint.
    """
    if "RANK" in os.environ:
        threading.Thread(target=_end_with, args=(launcher_chain(psutil.Process()),), daemon=True).start()


def launcher_chain(process: psutil.Process) -> list[tuple[psutil.Process, int]]:
    """Return the processes whose parent should live, each with the parent's id: the rank, and DeepSpeed's launcher."""
    chain = [(process, process.ppid())]
    if (parent := process.parent()) is not None and _LAUNCHER in parent.cmdline():
        command = parent.parent()
        if command is not None and _LAUNCHER_COMMAND in [Path(word).name for word in command.cmdline()[:2]]:
            chain.append((parent, command.pid))
    return chain


def is_orphaned(chain: list[tuple[psutil.Process, int]]) -> bool:
    """Return whether a launcher in the chain has ended."""
    try:
        return any(process.ppid() != parent for process, parent in chain)
    except psutil.NoSuchProcess:
        return True


def _end_with(chain: list[tuple[psutil.Process, int]]) -> None:
    while not is_orphaned(chain):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_STEP)
    print("stopped: the launcher has ended, and other ranks do not answer", file=sys.stderr, flush=True)
    os._exit(143)
