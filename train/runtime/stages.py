"""The seconds of each stage of a run, and the FLOPs that are counted in it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NotRequired, TypedDict

import psutil

from train.runtime.distributed import from_each

# What belongs to no stage.
OTHER = "other"


class StageFigures(TypedDict):
    """What a stage has taken, without the stages inside it.

    Args:
        seconds: the time on this rank.
        flops: what was counted, over all ranks; absent where nothing was.
    """

    seconds: float
    flops: NotRequired[float]


class StageClock:
    """Tells the time of a run to its stages, so that their seconds add up to those of the run."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._flops: dict[str, float] = {}
        self._open = [OTHER]
        self._since = time.perf_counter()

    def start(self) -> None:
        """Forget all stages. What the process has done until now is the stage `imports`."""
        self.__init__()  # type: ignore[misc] # (a new clock in the place of the old one)
        self._seconds["imports"] = time.time() - psutil.Process().create_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Give the time inside to a stage, but for the stages inside it. It also decorates functions."""
        self._tick()
        self._seconds.setdefault(name, 0.0)
        self._open.append(name)
        try:
            yield
        finally:
            self._tick()
            self._open.pop()

    def count(self, flops: float) -> None:
        """Add FLOPs to the innermost stage that is open."""
        self._flops[self._open[-1]] = self._flops.get(self._open[-1], 0.0) + flops

    def divide(self, name: str, weights: Mapping[str, float]) -> None:
        """Replace a stage by those that were done together in it, in proportion to their weights."""
        whole = sum(weights.values())
        for record in (self._seconds, self._flops):
            if name in record:
                value = record.pop(name)
                record.update({part: record.get(part, 0.0) + value * each / whole for part, each in weights.items()})

    def figures(self) -> dict[str, StageFigures]:
        """Return what each stage has taken, in the order in which they began, and last the time outside of all.

        Every rank must call this.
        """
        self._tick()
        found: dict[str, StageFigures] = {}
        counted = from_each(self._flops)
        for name in (*(name for name in self._seconds if name != OTHER), OTHER):
            found[name] = {"seconds": self._seconds.get(name, 0.0)}
            if any(name in flops for flops in counted):
                found[name]["flops"] = sum(flops.get(name, 0.0) for flops in counted)
        return found

    def _tick(self) -> None:
        """Give the time since the last change to the innermost stage that is open."""
        now = time.perf_counter()
        self._seconds[self._open[-1]] = self._seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now


# One for the process, like a logger, so that no function has to hand it on.
clock = StageClock()
