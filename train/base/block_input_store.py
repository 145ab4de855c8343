"""The block-input caches on disk.

$EAVSS_CACHE/prefix/KEY/states.bin         one row of H numbers a token, memory-mapped; no padding
                        references.json    the references, and the size and the hash of states.bin; written
                                           last, so a folder that holds it was whole
"""

import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

from train.model.disk_room import make_room
from train.runtime.distributed import say
from train.runtime.errors import ModelError
from train.runtime.files import size_and_hash, write_json


def kept_references(folder: Path) -> list[float] | None:
    """Return the references of a finished cache, or None if there is none; a damaged one is told and removed."""
    path = folder / "references.json"
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        references: list[float] = kept["references"]
        whole = kept["states"] == size_and_hash(folder / "states.bin")
        os.utime(folder)  # used just now
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if whole:
        return references
    if not folder.is_dir():  # another run has made room meanwhile
        return None
    say(f"note: the block-input cache {folder} is damaged, or of an earlier version; it is made again")
    shutil.rmtree(folder, ignore_errors=True)
    return None


def start_cache(folder: Path, size: int, limit_bytes: float, partial: Path | None = None) -> Path:
    """Make a new folder with a file of `size` bytes to fill, under a temporary name until it is finished.

    Args:
        partial: the temporary name; None for a new one.
        limit_bytes: how much all caches together may take, this one included; those unused for longest make room.

    Raises:
        ModelError: the disk has no room, or the folder cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_room(folder.parent, limit_bytes - size)
        if partial is None:
            partial = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        partial.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"the block-input cache cannot be kept in {folder.parent} ({error.strerror}); let EAVSS_CACHE name another "
            "folder, or set prefix_cache_gb: 0"
        ) from None
    with open(partial / "states.bin", "wb") as file:
        try:
            # Fails here on a full disk, where writing to the mapped file later would crash.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ModelError(
                f"no room for the block-input cache, {size / 1e9:.3g} GB in {folder.parent} ({error.strerror}); "
                "let EAVSS_CACHE name another folder, or set prefix_cache_gb: 0"
            ) from None
    return partial


def finish_cache(partial: Path, folder: Path, references: list[float]) -> None:
    """Write the references into a filled folder, and give it the name under which later runs find it."""
    write_json(partial / "references.json", {"references": references, "states": size_and_hash(partial / "states.bin")})
    try:
        partial.replace(folder)
    except OSError:  # another run has filled the same cache meanwhile
        shutil.rmtree(partial, ignore_errors=True)


def map_states(folder: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Map a folder's states, (tokens, H), into memory; what is written to the tensor is on disk."""
    path = folder / "states.bin"
    return torch.from_file(str(path), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)
