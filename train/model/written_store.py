"""Keep what a model wrote in the cache folder, for runs that would have it write the same again."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from peft import PeftModel
from transformers import PreTrainedModel

from train.model.disk_room import make_room
from train.model.loading import fingerprint
from train.runtime.distributed import from_main, is_main_process, say
from train.runtime.files import cache_folder, write_text

Written = TypeVar("Written")

# Bytes that each kind may take on disk. What was unused for longest makes room.
_LIMIT = 1_000_000_000
# What this process has written, which is as fresh as can be.
_written: set[Path] = set()


def reuse_or_write(
    kind: str,
    model: PreTrainedModel | PeftModel,
    settings: Any,
    write: Callable[[], Written],
    *,
    fresh: bool = False,
    on_reuse: Callable[[], None] | None = None,
) -> Written:
    """Return what `write` returned to an earlier run with the same model and settings, or call it and keep its result.

    Args:
        kind: the name of a folder in the cache folder.
        model: the model that writes.
        settings: everything besides the model that the result depends on. As JSON it makes the key, together with the
            model's weights and dtype.
        write: a function that is called on every rank, or on none. It returns what JSON can hold, and not None.
        fresh: call it once in this process, whatever earlier runs have kept.
        on_reuse: called where the result is an earlier run's.
    """
    digest = hashlib.sha256(fingerprint(model))
    digest.update(json.dumps([str(model.dtype), settings]).encode())
    path = cache_folder() / kind / f"{digest.hexdigest()[:32]}.json"
    if not fresh or path in _written:
        # The main rank decides, since only its machine may have the file.
        found: Written | None = from_main(lambda: _read(path))
        if found is not None:
            if on_reuse is not None and path not in _written:
                on_reuse()
            return found
    written = write()
    _written.add(path)
    if is_main_process():
        _keep(path, written)
    return written


def _read(path: Path) -> Any:
    """Return what was kept, or None where there is nothing whole; a damaged file is told, and written again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["checksum"] == _checksum(kept["written"]):
            with suppress(OSError):  # of a folder that is another user's, say
                os.utime(path)  # used just now
            return kept["written"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    say(f"note: {path} is damaged, or of an earlier version; it is written again")
    return None


def _keep(path: Path, written: Any) -> None:
    text = json.dumps({"checksum": _checksum(written), "written": written})  # in ASCII, a byte each
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if make_room(path.parent, _LIMIT - len(text)):
            write_text(path, text)
    except OSError as error:  # the run has what it needs
        say(f"note: nothing is kept for later runs in {path.parent} ({error.strerror}); EAVSS_CACHE names the folder")


def _checksum(written: Any) -> int:
    return crc32(json.dumps(written).encode())
