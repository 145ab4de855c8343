"""Room for what runs keep in a folder: what was unused for longest goes first."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Seconds after which an unfinished cache has no writer any more.
_ABANDONED = 24 * 3600
# Seconds from finding a cache to mapping it, on every rank, at most.
_FOUND = 10


def make_room(parent: Path, limit_bytes: float) -> bool:
    """Remove the caches unused for longest until the rest take at most `limit_bytes`; return whether they do.

    Those that another run is filling stay, and so do those that a run has just found, which it is about to map.

    Args:
        parent: holds a folder or a .json file for each cache, whose time of modification is that of its last use.
        limit_bytes: how much they may take; below 0 for what never has room.
    """
    kept = of_later = 0
    for used, cache in sorted(_by_use(parent), reverse=True):
        unused = time.time() - used
        if cache.suffix == ".part":
            if unused > _ABANDONED:
                _remove(cache)
            continue
        size = 0
        with suppress(FileNotFoundError):  # another run makes room too
            size = sum(file.stat().st_size for file in (cache.iterdir() if cache.is_dir() else [cache]))
        of_later += size
        if of_later > limit_bytes and unused > _FOUND:
            _remove(cache)
        else:
            kept += size
    return kept <= limit_bytes


def _remove(cache: Path) -> None:
    """Remove a folder or a file; one that cannot be removed stays."""
    if cache.is_dir():
        shutil.rmtree(cache, ignore_errors=True)
    else:
        with suppress(OSError):
            cache.unlink()


def _by_use(parent: Path) -> Iterator[tuple[float, Path]]:
    """Yield when each cache was last used; a file that is none of ours is left alone."""
    for cache in parent.iterdir():
        with suppress(FileNotFoundError):
            if cache.is_dir() or cache.suffix in (".json", ".part"):
                yield cache.stat().st_mtime, cache
