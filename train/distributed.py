"""Work without gradients, divided among the ranks, with results equal to one rank's."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_sharded(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> list[Result]:
    """`[function(item) for item in items]`, each rank doing its share, the whole list returned on every rank.

    Results travel pickled, so tensors in them should be on the CPU. Every rank must call this with the same items.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
    mine = [function(item) for item in tqdm(items[rank::world], desc=description, disable=rank != 0)]
    if world == 1:
        return mine
    parts: list[list[Result]] = [[] for _ in range(world)]
    torch.distributed.all_gather_object(parts, mine)
    return [parts[index % world][index // world] for index in range(len(items))]
