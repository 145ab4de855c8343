"""What is measured of a model is kept in the cache folder, for every later run that would measure the same."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeVar

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from eavss.rewiring import is_rewired
from train.model.loading import causal_lm
from train.model.sharding import is_divided
from train.model.written_store import reuse_or_write
from train.runtime.distributed import say
from train.runtime.files import cache_folder

Figures = TypeVar("Figures")

# The libraries whose release may round otherwise.
_PACKAGES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class KeptFigures:
    """Measures what no run has measured of the same model on the same kind of machine, and keeps it on disk.

    A figure depends on rounding, and so on what computes it. The key holds all of that: the weights with their
    adapter, the dtype, the attention implementation, the device, the number of threads and the libraries.

    Args:
        fresh: measure anew what is kept.
        used: what an earlier run had measured, in words; for `say_used`.
    """

    fresh: bool = False
    used: list[str] = field(default_factory=list)

    def __call__(
        self,
        kind: str,
        model: PreTrainedModel | PeftModel,
        settings: Any,
        measure: Callable[[], Figures],
        description: str,
    ) -> Figures:
        """Return what `measure` returned to an earlier run, or call it and keep its result.

        Args:
            kind: the name of a folder in the cache folder.
            model: the model that is measured. Nothing is kept of one that is rewired, which no weight tells.
            settings: everything else that the figures depend on; see `reuse_or_write`.
            measure: see `write` there.
            description: what is measured.
        """
        if is_rewired(model):
            return measure()
        return reuse_or_write(
            kind,
            model,
            [surroundings(model), settings],
            measure,
            fresh=self.fresh,
            on_reuse=lambda: self.used.append(description),
        )

    def say_used(self, stage: str) -> None:
        """Say in one line what an earlier run had measured, if it is anything, since the last such line.

        Args:
            stage: what the descriptions begin with.
        """
        if self.used:
            names = ", ".join(name.removeprefix(f"{stage}: ") for name in self.used)
            say(f"{stage}: not measured again, but read from {cache_folder()} (fresh: true measures anew): {names}")
        self.used.clear()


def surroundings(model: PreTrainedModel | PeftModel) -> list[object]:
    """Return what a model's figures depend on beside its weights and its inputs, as JSON can hold it."""
    device = next(model.parameters()).device
    machine: list[object] = [torch.get_float32_matmul_precision()]
    if device.type == "cuda":
        machine += [torch.cuda.get_device_name(device), torch.version.cuda]
    else:
        machine += [dict(torch.cpu.get_capabilities()), torch.get_num_threads()]
    attention = causal_lm(model).config._attn_implementation
    return [device.type, machine, attention, is_divided(model), [version(name) for name in _PACKAGES]]
