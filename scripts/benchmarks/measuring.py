"""Measure time, memory and the rate of a forward pass, for the benchmarks."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.costs import flop_counter
from train.model.loading import read_model
from train.model.tokenizer import load_tokenizer
from train.recipe.settings import BaseModel, Dtype

Work = Callable[[], object]


def load_model_and_tokenizer(name: str, dtype: Dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model onto the GPU, or the CPU where there is none, and its tokenizer."""
    base = BaseModel(name, dtype=dtype)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return read_model(base).to(device).eval(), load_tokenizer(base)  # type: ignore[arg-type] # (a decorator hides it)


def seconds(work: Work) -> float:
    """Run `work` and return its wall-clock time."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


class PeakMemory:
    """Watches the memory of this process, mapped files left out, from its construction until `stop`.

    Args:
        above: what `stop` counts from; None for the use at the start.
    """

    def __init__(self, above: int | None = None) -> None:
        self._most = self.now()
        self._above = self._most if above is None else above
        self._running = True
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @staticmethod
    def now() -> int:
        """Return the use in bytes."""
        if torch.cuda.is_available():
            return torch.cuda.memory_allocated()
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    def _watch(self) -> None:
        while self._running:
            self._most = max(self._most, self.now())
            time.sleep(0.005)

    def stop(self) -> int:
        """Return by how many bytes the highest use was above `above`."""
        self._running = False
        self._thread.join()
        most = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else self._most
        return most - self._above


@torch.no_grad()
def forward_flops_per_second(model: PreTrainedModel) -> float:
    """Return the rate of a bare forward pass over 16 texts of 64 tokens, as the median of 5.

    Only the last token of each text has logits.
    """
    ids = torch.ones(16, 64, dtype=torch.long, device=model.device)
    with flop_counter() as counter:
        model(input_ids=ids, use_cache=False, logits_to_keep=1)
    times = sorted(seconds(lambda: model(input_ids=ids, use_cache=False, logits_to_keep=1)) for _ in range(5))
    return counter.get_total_flops() / times[2]
