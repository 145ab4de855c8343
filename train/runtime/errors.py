"""The errors that a user can mend; each message says what is wrong and what would be right."""

import errno
import unicodedata

from safetensors import SafetensorError

# What a full, read-only or broken disk, or a path that cannot be written, is reported as.
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
# What torch.save says where a file cannot be written.
_TORCH = ("PytorchStreamWriter failed", "inline_container.cc")
# Whose errors say that another rank has ended or does not answer.
_PEERS = "gloo/transport"
# Control characters, halves of surrogate pairs, and separators of lines and paragraphs.
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


class RecipeError(ValueError):
    """A recipe or the command line is not as it should be; the message names the key and what would be right."""


class ModelError(ValueError):
    """The model cannot be loaded, or the adapter did not land where it should."""


class HubError(RuntimeError):
    """The Hub refuses something, or cannot be reached."""


class MachineError(RuntimeError):
    """Something on this machine is in the way, and the user has to remove it."""


def require(holds: bool, key: str, value: object, right: str) -> None:
    """Refuse a key's value that does not hold, in one line that says what would be right.

    Raises:
        RecipeError: it does not hold.
    """
    if not holds:
        raise RecipeError(f"{key}: {value} should be {right}")


def is_plain(text: str) -> bool:
    """Return whether a text can be shown on one line of a terminal, and does nothing else to it."""
    return not any(unicodedata.category(letter) in _UNPRINTABLE for letter in text)


def single_line(text: str) -> str:
    """Return a text with single spaces and visible control characters."""
    words = " ".join(text.split())
    return "".join(letter if is_plain(letter) else ascii(letter)[1:-1] for letter in words)


def machine_error(error: Exception) -> str | None:
    """Return what the machine refuses, such as room on its disk; None for an error of another kind.

    safetensors reports what the operating system says as text, and torch that a file could not be written.
    """
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return f"{error.filename or 'a file'} cannot be written or read: {error.strerror}"
    if isinstance(error, SafetensorError) and "os error" in str(error):
        return f"a file cannot be written or read: {error}"
    if isinstance(error, RuntimeError) and any(part in str(error) for part in _TORCH):
        return "a file cannot be written; the disk may be full"
    return None


def is_peers_end(error: Exception) -> bool:
    """Return whether an error says that another rank has ended, or has not answered for `ddp_timeout` seconds."""
    from torch.distributed import DistBackendError  # imported here, so that a mistyped key does not wait for torch

    return isinstance(error, DistBackendError) or (isinstance(error, RuntimeError) and _PEERS in str(error))
