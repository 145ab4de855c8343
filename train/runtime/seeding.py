"""Streams of random numbers: each stochastic step has its own, whatever other steps draw or find on disk."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def random_stream(seed: int) -> Iterator[None]:
    """Draw torch's random numbers inside from a stream of their own, and leave those outside as they were.

    A step that draws in such a stream gives the same numbers whether an earlier step ran or took its result from the
    cache folder, and the steps after it do not notice whether it ran.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
