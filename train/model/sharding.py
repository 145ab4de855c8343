"""A base model divided among the ranks by DeepSpeed's ZeRO-3, in the stages without gradients.

Each rank holds its share of every weight. Before a part of the model runs (the embeddings, a block, the final norm, the
head), all ranks gather that part, and free it afterwards. So a rank holds no more than its share and one part.

All ranks must gather together, but they don't do the same: one has fewer batches, writes shorter answers, or ends a
pass early. So before each gathering they agree on which part comes next in the model's order. A rank that needs
another part, or has done its work, gathers with the others without using the part.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import deepspeed
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments
from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

from eavss.blocks import find_blocks
from train.runtime.distributed import joining, leave
from train.runtime.errors import ModelError


def zero3_settings(training: TrainingArguments) -> Mapping[str, object] | None:
    """Return DeepSpeed's `zero_optimization` where it divides the weights among the ranks (stage 3), else None."""
    config = training.hf_deepspeed_config if training.deepspeed else None
    if config is None or not config.is_zero3():
        return None
    settings: Mapping[str, object] = config.config["zero_optimization"]
    return settings


@contextmanager
def dividing(settings: Mapping[str, object], dtype: torch.dtype) -> Iterator[None]:
    """Let `from_pretrained` read one weight at a time inside, and give each rank its share of it.

    Args:
        settings: see `zero3_settings`.
    """
    config = HfDeepSpeedConfig(
        {
            # The first would round a linear layer in its own way, the second takes all ranks to free a weight.
            "zero_optimization": {**settings, "memory_efficient_linear": False, "enable_sanity_checks": False},
            "bf16": {"enabled": dtype is torch.bfloat16},
            "train_micro_batch_size_per_gpu": 1,
        }
    )
    try:
        yield
    finally:
        del config
        unset_hf_deepspeed_config()


class _Parts:
    """The parts of a divided model, and the hooks that gather each before it runs."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._device = model.device
        self._last = -1  # the part that was gathered last, the same on all ranks
        self._held: dict[int, ExitStack] = {}
        modules = list(parts_of(model))
        self._weights = [list(module.parameters()) for module in modules]
        self._hooks = [
            hook
            for number, module in enumerate(modules)
            for hook in (
                module.register_forward_pre_hook(partial(self._gather, number)),
                module.register_forward_hook(partial(self._free, number), always_call=True),
            )
        ]

    def _gather(self, number: int, *_: object) -> None:
        """Gather part `number`, and before it those that other ranks need."""
        while True:
            agreed = self._agree(number)
            with ExitStack() as stack:
                stack.enter_context(deepspeed.zero.GatheredParameters(self._weights[agreed]))
                if agreed == number:
                    self._held[number] = stack.pop_all()
                    return

    def _free(self, number: int, *_: object) -> None:
        if number in self._held:  # it is not where gathering failed
            self._held.pop(number).close()

    def join(self) -> None:
        """Gather what other ranks need, until all of them wait here."""
        while (agreed := self._agree(None)) < len(self._weights):
            with deepspeed.zero.GatheredParameters(self._weights[agreed]):
                pass

    def _agree(self, wanted: int | None) -> int:
        """Return the next part in the model's order that a rank wants, or the number of parts where none wants any."""
        count = len(self._weights)
        ahead = count if wanted is None else (wanted - self._last - 1) % count
        vote = torch.tensor(ahead, device=self._device)
        torch.distributed.all_reduce(vote, torch.distributed.ReduceOp.MIN)
        least = int(vote)
        if least == count:
            return count
        self._last = (self._last + 1 + least) % count
        return self._last

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


_PARTS: WeakKeyDictionary[nn.Module, _Parts] = WeakKeyDictionary()


def parts_of(model: PreTrainedModel) -> Iterator[nn.Module]:
    """Yield the blocks, and each module with weights of its own outside them, in the model's order.

    Raises:
        ModelError: such a module has blocks inside, so that its weights could not be freed while they run.
    """
    blocks = find_blocks(model)
    for name, module in model.named_modules():
        if name.startswith(f"{blocks.path}."):
            if module in blocks.modules:
                yield module
        elif list(module.parameters(recurse=False)):
            if any(part is blocks.modules for part in module.modules()):
                where = name or "the model itself"
                raise ModelError(
                    f"deepspeed: ZeRO-3 cannot divide {type(model).__name__}, "
                    f"where {where} holds weights beside its blocks"
                )
            yield module


def gather_as_needed(model: PreTrainedModel) -> None:
    """Gather each part of a divided model before it runs, and free it afterwards, until `hand_over`.

    Raises:
        ModelError: the model has weights that cannot be freed in between.
    """
    parts = _Parts(model)
    _PARTS[model] = parts
    joining(parts.join)


def _found(model: nn.Module) -> tuple[nn.Module, _Parts] | None:
    """Return the divided model, which PEFT may have wrapped, and its parts; None for a whole one."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    parts = _PARTS.get(base)
    return None if parts is None else (base, parts)


def is_divided(model: nn.Module) -> bool:
    """Return whether this rank holds its share of the weights alone, so that no gradient can be computed."""
    return _found(model) is not None


def hand_over(model: nn.Module) -> None:
    """Leave gathering to DeepSpeed's engine from here on, which trains the model."""
    if (found := _found(model)) is None:
        return
    base, parts = found
    leave(parts.join)
    parts.remove()
    del _PARTS[base]
    dtype = next(parameter.dtype for parameter in model.parameters())
    for parameter in model.parameters():
        if not hasattr(parameter, "ds_id"):  # the adapter's; the engine asks for one dtype
            parameter.data = parameter.data.to(dtype)


def free_weights(model: nn.Module) -> None:
    """Free what this rank holds of a model that is not used any more; DeepSpeed itself keeps the model it trained."""
    for parameter in model.parameters():
        parameter.data = parameter.new_empty(0)
        if hasattr(parameter, "ds_id"):
            parameter.ds_tensor.data = parameter.ds_tensor.new_empty(0)  # type: ignore[attr-defined] # (DeepSpeed's)


def each_whole(model: nn.Module) -> Iterator[Tensor]:
    """Yield every weight whole, each until the next one. Every rank must ask for all of them."""
    for parameter in model.parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            yield parameter.detach()


def whole_shape(parameter: Any) -> torch.Size:
    """Return the shape that a weight has when it is whole, and not packed in 4 bits."""
    packed = getattr(parameter, "quant_state", None)
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape) if packed is None else packed.shape
    return shape
