"""DeepSpeed builds its operators at their first use. What waits for a build that was killed ends with one line."""

import os
import time
from contextlib import suppress
from pathlib import Path

from torch.utils.file_baton import FileBaton

from train.runtime.errors import MachineError

# Seconds within which every build ends, those too of other machines that share the folder.
_LONGEST_BUILD = 15 * 60
# Seconds between two looks at what processes have open.
_PAUSE = 5.0


def end_waits_for_dead_builds() -> None:
    """Let torch, which makes a file for the time of a build, wait for its removal only while a build can be alive."""
    FileBaton.wait = _wait  # type: ignore[method-assign]


def _wait(self: FileBaton) -> None:
    """Wait until the file is gone, as `FileBaton.wait` does.

    It is left where it is, since a machine that is not seen from here may have made it.

    Raises:
        MachineError: the file is older than a build takes, and two looks find no process that has it open.
    """
    lock = Path(self.lock_file_path)
    dead, looked = 0, -_PAUSE
    while lock.exists():
        if time.monotonic() - looked >= _PAUSE:
            # Two, since a builder may close and remove it during the first.
            dead = dead + 1 if _is_dead(lock) else 0
            if dead == 2:
                raise MachineError(
                    f"{lock} says that an operator of DeepSpeed is being built, for more than {_LONGEST_BUILD // 60} "
                    "minutes, and no process of this machine has it open; a killed build has left it: delete it, and "
                    "start again"
                )
            looked = time.monotonic()
        time.sleep(self.wait_seconds)


def _is_dead(lock: Path) -> bool:
    """Return whether a file is older than a build takes, and no process of this machine has it open, as builders do."""
    try:
        found = lock.stat()
    except FileNotFoundError:  # removed just now
        return False
    return time.time() - found.st_mtime > _LONGEST_BUILD and not _is_open(found)


def _is_open(file: os.stat_result) -> bool:
    """Return whether a process of this machine has a file open; one of another user counts only where it shows."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it has ended, or is another user's
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False
