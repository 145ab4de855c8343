"""One run writes an output folder at a time."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from filelock import FileLock, Timeout

from train.runtime.distributed import from_each, from_main
from train.runtime.errors import RecipeError
from train.runtime.files import cache_folder, check_writable, nearest_folder


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Keep other runs out of an output folder until this one ends, however it ends.

    The lock is a file in the cache folder, so that a run that is refused leaves the output folder as it is. Runs
    without a common cache folder do not see each other.

    Raises:
        RecipeError: another run is writing the folder, it cannot be written to, or not all machines share it.
    """
    check_writable("output_dir", output, folder=True)
    _require_shared(output)
    held: list[FileLock] = []
    from_main(lambda: held.extend(_locks(output)))
    try:
        yield
    finally:
        for lock in held:
            lock.release()


def _require_shared(output: Path) -> None:
    """Check that every rank sees in the output folder, or in the one that it will be made in, what rank 0 writes."""
    place = nearest_folder(output)
    with ExitStack() as marks:
        name = from_main(lambda: Path(marks.enter_context(NamedTemporaryFile(dir=place)).name).name)
        shared = from_each((place / name).exists())
    if not all(shared):
        blind = ", ".join(str(rank) for rank, sees in enumerate(shared) if not sees)
        raise RecipeError(
            f"output_dir: {output} is another folder for rank {blind} than for rank 0; name one that all machines share"
        )


def _locks(output: Path) -> list[FileLock]:
    """Take the lock and return it; none where the cache folder cannot be written to."""
    name = hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:32]
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise RecipeError(f"output_dir: another run is writing {output}; wait for it, or name another folder") from None
    except OSError:
        return []
    return [lock]
