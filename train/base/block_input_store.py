"""The block-input caches on disk.

$EAVSS_CACHE/prefix/KEY/states.bin         one row of H numbers a token, memory-mapped; no padding
                        references.json    written last, so a folder that holds it is whole
"""

import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

from train.runtime.errors import ModelError
from train.runtime.files import write_json


def kept_references(folder: Path) -> list[float] | None:
    """Return the references of a finished cache, or None if there is none."""
    path = folder / "references.json"
    if not path.is_file():
        return None
    os.utime(folder)  # used just now
    references: list[float] = json.loads(path.read_text(encoding="utf-8"))
    return references


def start_cache(folder: Path, size: int, limit_bytes: float) -> Path:
    """Make a new folder with a file of `size` bytes to fill, under a temporary name until it is finished.

    Args:
        limit_bytes: how much all caches together may take, this one included; those unused for longest make room.

    Raises:
        ModelError: the disk has no room.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder.parent, limit_bytes - size)
    partial = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
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


def _make_room(parent: Path, room: float) -> None:
    """Remove the caches that are unused for longest until the rest take at most `room` bytes."""
    newest_first = sorted(parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in newest_first:
        room -= sum(file.stat().st_size for file in folder.iterdir())
        if room < 0:
            shutil.rmtree(folder, ignore_errors=True)


def finish_cache(partial: Path, folder: Path, references: list[float]) -> None:
    """Write the references into a filled folder, and give it the name under which later runs find it."""
    write_json(partial / "references.json", references)
    try:
        partial.replace(folder)
    except OSError:  # another run has filled the same cache meanwhile
        shutil.rmtree(partial, ignore_errors=True)


def map_states(folder: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Map a folder's states, (tokens, H), into memory; what is written to the tensor is on disk.

    Raises:
        ModelError: the folder is not here, but on another node.
    """
    path = folder / "states.bin"
    if not path.is_file():
        raise ModelError(f"EAVSS_CACHE: no {path} here; name a folder that all nodes share, or set prefix_cache_gb: 0")
    return torch.from_file(str(path), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)
