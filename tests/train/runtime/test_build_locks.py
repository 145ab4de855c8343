"""A build that was killed is not waited for; one that is alive is."""

import os
import time
from pathlib import Path
from threading import Timer

import pytest
from torch.utils.file_baton import FileBaton

from train.runtime import build_locks
from train.runtime.build_locks import end_waits_for_dead_builds
from train.runtime.errors import MachineError


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a lock is made; a build is given up after an hour, and what is open is looked at without a pause."""
    monkeypatch.setattr(FileBaton, "wait", FileBaton.wait)  # puts it back
    monkeypatch.setattr(build_locks, "_LONGEST_BUILD", 3600)
    monkeypatch.setattr(build_locks, "_PAUSE", 0.0)
    end_waits_for_dead_builds()
    return tmp_path / "lock"


def age(lock: Path, hours: float) -> None:
    os.utime(lock, (time.time() - 3600 * hours,) * 2)


def wait(lock: Path) -> None:
    baton = FileBaton(str(lock))
    assert not baton.try_acquire()
    baton.wait()


def test_an_old_lock_that_nobody_has_open_ends_the_run_and_stays(lock: Path) -> None:
    lock.touch()
    age(lock, 2)
    with pytest.raises(MachineError, match=f"^{lock} says .* 60 minutes, .* delete it, and start again$"):
        wait(lock)
    assert lock.exists()


@pytest.mark.parametrize("is_open", [True, False], ids=["old and open", "new"])
def test_a_lock_that_may_be_alive_is_waited_for(lock: Path, is_open: bool) -> None:
    builder = FileBaton(str(lock))
    assert builder.try_acquire()
    if is_open:
        age(lock, 2)
    else:  # as another machine's build looks like from here
        os.close(builder.fd)
        builder.fd = None
    Timer(0.5, builder.release).start()
    started = time.monotonic()
    wait(lock)
    assert time.monotonic() - started > 0.3
    assert not lock.exists()
