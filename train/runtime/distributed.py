"""What several ranks do together: who prints, and how work without gradients is divided among them."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tqdm import tqdm

from train.runtime.errors import single_line

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

# Bytes that are sent at once.
_MESSAGE = 1 << 26
# Seconds after which it is worth a line that something is done.
_LONG = 5.0
# What a rank does after its share of common work, until all ranks have done theirs.
_joins: list[Callable[[], None]] = []


def is_main_process() -> bool:
    """Return whether this is rank 0 or the only process, by the launcher's variables, which are set from the start."""
    return int(os.environ.get("RANK", "0")) == 0


def is_host_main_process() -> bool:
    """Return whether this is the first rank on its machine, which writes what each machine has on its own disk."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def on_main_process(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Decorate a function so that it runs on rank 0 only, for what is to be written once."""

    @wraps(function)
    def on_main(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if is_main_process():
            function(*args, **kwargs)

    return on_main


def say(text: str = "") -> None:
    """Print on rank 0 only."""
    if is_main_process():
        print(text, flush=True)


def say_duration(what: str, seconds: float) -> None:
    """Say what has taken more than five seconds, where no bar shows it because nobody reads on a terminal."""
    if seconds > _LONG and not sys.stderr.isatty():
        say(f"{what}: {seconds:.0f} s")


def fail(message: str) -> int:
    """Print a user's error once, however many ranks there are, and return the exit status 2.

    A launcher kills all ranks as soon as one has ended. So the others first wait for rank 0 to print; if they still run
    afterwards, the error was theirs alone, and they print it.
    """
    if not is_main_process():
        time.sleep(20)
    print(f"error: {single_line(message)}", file=sys.stderr, flush=True)
    return 2


def _place() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    import torch.distributed  # imported where it is used, so that what only prints does not wait for torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def on_any_rank(flag: bool, device: "torch.device") -> bool:
    """Return whether the flag is set on some rank; every rank must call this."""
    return bool(highest_of_ranks(float(flag), device))


def highest_of_ranks(value: float, device: "torch.device") -> float:
    """Return the highest value of all ranks; every rank must call this, with a number or an infinity."""
    if _place()[1] == 1:
        return value
    import torch.distributed

    found = torch.tensor(value, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return float(found)


def from_main(function: Callable[[], Result]) -> Result:
    """Call `function` on rank 0 and return its result on every rank, for what only that machine may have on disk.

    An error is raised on every rank, since a launcher on another machine does not see that rank 0 has ended.
    """
    rank, world = _place()
    if world == 1:
        return function()
    import torch.distributed

    box: list[Any] = [None, None]
    if rank == 0:
        try:
            box[0] = function()
        except Exception as error:
            box[1] = error
    for join in _joins:
        join()
    torch.distributed.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise box[1]
    result: Result = box[0]
    return result


def from_each(value: Result) -> list[Result]:
    """Return every rank's value on every rank."""
    world = _place()[1]
    if world == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * world
    torch.distributed.all_gather_object(values, value)
    return values


def join_bytes(tensor: "torch.Tensor", device: "torch.device") -> None:
    """Give each rank, in place, the bytes that other ranks have and that are 0 in its own tensor.

    Args:
        tensor: contiguous, on the CPU. A byte is 0 or the same on every rank.
        device: of the ranks' communication.
    """
    import torch.distributed

    for part in tensor.view(-1).view(torch.uint8).split(_MESSAGE):
        moved = part.to(device, copy=True)
        torch.distributed.all_reduce(moved, torch.distributed.ReduceOp.MAX)
        part.copy_(moved)


def joining(join: Callable[[], None]) -> None:
    """Let a rank that has done its share in `map_sharded` or `from_main` call `join`, which waits for the others."""
    _joins.append(join)


def leave(join: Callable[[], None]) -> None:
    """Take back what `joining` was told."""
    _joins.remove(join)


def map_sharded(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> list[Result]:
    """Return `[function(item) for item in items]` on every rank, where each rank computes its share.

    Results are sent pickled, so tensors in them should be on the CPU. Every rank must call this with the same items.
    """
    if not items:
        return []
    rank, world = _place()
    start = time.perf_counter()
    # None shows the bar where it is read on a terminal.
    mine = [function(item) for item in tqdm(items[rank::world], desc=description, disable=None if rank == 0 else True)]
    for join in _joins:
        join()
    say_duration(description, time.perf_counter() - start)
    if world == 1:
        return mine
    parts = from_each(mine)
    return [parts[index % world][index // world] for index in range(len(items))]
