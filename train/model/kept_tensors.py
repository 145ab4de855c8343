"""Tensors that runs keep in $EAVSS_CACHE/prefix for each other, one safetensors file with a checksum each."""

import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from train.model.disk_room import make_room
from train.runtime.distributed import from_main, is_main_process, say
from train.runtime.files import cache_folder, write_whole

# What this process has written, which is as fresh as can be.
_written: set[Path] = set()


@dataclass(frozen=True)
class KeptTensors:
    """Reads and writes such files.

    Args:
        limit_bytes: how much they and the block inputs of training may take together; 0 to keep nothing. What was
            unused for longest makes room, a folder at a time.
        fresh: read nothing that another process has kept.
    """

    limit_bytes: float
    fresh: bool = False

    def reuse_or_make(
        self, folder: str, name: str, make: Callable[[], dict[str, Tensor]], on_reuse: Callable[[], object]
    ) -> dict[str, Tensor]:
        """Return what an earlier run has kept, or call `make` and keep its result; the first rank reads and writes.

        Every rank must call this.

        Args:
            on_reuse: called where something was kept.
        """
        if not self.limit_bytes:
            return make()
        found = from_main(lambda: self.read(folder, name))
        if found is not None:
            on_reuse()
            return found
        made = make()
        if is_main_process():
            self.keep(folder, name, made)
        return made

    def read(self, folder: str, name: str) -> dict[str, Tensor] | None:
        """Return what was kept, or None where there is nothing whole; a damaged file is told, and made again."""
        path = _path(folder, name)
        if not path.is_file() or (self.fresh and path not in _written):
            return None
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
                whole = file.metadata()["checksum"] == _checksum(tensors)
            os.utime(path.parent)  # used just now
        except (OSError, SafetensorError, KeyError, TypeError):
            whole = False
        if whole:
            return tensors
        say(f"note: {path} is damaged; it is made again")
        return None

    def keep(self, folder: str, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a file, unless there is no room; an error is told, since the run has what it needs."""
        path = _path(folder, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if make_room(path.parent.parent, self.limit_bytes - sum(each.nbytes for each in tensors.values())):
                whole = {key: each.contiguous() for key, each in tensors.items()}
                write_whole(path, lambda temporary: save_file(whole, temporary, {"checksum": _checksum(whole)}))
                _written.add(path)
        except (OSError, SafetensorError) as error:
            say(f"note: nothing is kept for later runs in {path.parent} ({error}); EAVSS_CACHE names the folder")


NOTHING_KEPT = KeptTensors(0)


def _path(folder: str, name: str) -> Path:
    return cache_folder() / "prefix" / folder / f"{name}.safetensors"


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    checksum = 0
    for key in sorted(tensors):
        checksum = zlib.crc32(tensors[key].contiguous().view(-1).view(torch.uint8).numpy().data, checksum)
    return str(checksum)
