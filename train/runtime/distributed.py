"""What several ranks do together: who prints, and how work without gradients is divided among them."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_main_process() -> bool:
    """Whether this is rank 0, or the only process; told by the launcher's variables, so known from the start."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str = "") -> None:
    """Print once, however many ranks."""
    if is_main_process():
        print(text, flush=True)


def fail(message: str) -> int:
    """Print a user's error once, however many ranks, and return the exit status 2.

    A launcher kills all ranks once one has ended, so the others leave rank 0 the time to speak; if they are still there
    afterwards, the error was theirs alone, and they print it.
    """
    if not is_main_process():
        time.sleep(20)
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 2


def _place() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def from_main(function: Callable[[], Result]) -> Result:
    """What `function` returns on rank 0, on every rank: for what only one machine may know, such as a file it kept."""
    rank, world = _place()
    if world == 1:
        return function()
    box: list[Any] = [function() if rank == 0 else None]
    torch.distributed.broadcast_object_list(box, src=0)
    result: Result = box[0]
    return result


def map_sharded(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> list[Result]:
    """`[function(item) for item in items]`, each rank doing its share, the whole list returned on every rank.

    Results travel pickled, so tensors in them should be on the CPU. Every rank must call this with the same items.
    """
    if not items:
        return []
    rank, world = _place()
    mine = [function(item) for item in tqdm(items[rank::world], desc=description, disable=rank != 0)]
    if world == 1:
        return mine
    parts: list[list[Result]] = [[] for _ in range(world)]
    torch.distributed.all_gather_object(parts, mine)
    return [parts[index % world][index // world] for index in range(len(items))]
