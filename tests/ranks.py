"""Two ranks of one job, forked from the test."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch.distributed
from torch.distributed.elastic.utils.distributed import get_free_port

_SECONDS = 60


def on_two_ranks(work: Callable[[int], object]) -> list[Any]:
    """Return what `work` returns on rank 0 and on rank 1, each of which is the first one of a machine of its own."""
    port = get_free_port()
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def be(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0"}
        torch.set_num_threads(1)  # threads do not survive a fork
        address = f"tcp://127.0.0.1:{port}"
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
        results.put((rank, work(rank)))

    ranks = [context.Process(target=be, args=(rank,)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    found = dict(results.get(timeout=_SECONDS) for _ in ranks)
    for process in ranks:
        process.join(timeout=_SECONDS)
    return [found[0], found[1]]
