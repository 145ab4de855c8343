"""Work without gradients, divided among the ranks, with results equal to one rank's."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


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
