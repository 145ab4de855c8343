"""Bases whose linear layers bitsandbytes holds in 4 or 8 bits, so that a model takes a quarter or half of the memory.

4 bits are those of QLoRA (Dettmers et al. 2023, section 3), 8 bits those of LLM.int8() (Dettmers et al. 2022). The
embeddings, the norms, the head and the fused experts of a mixture keep the model's dtype.
"""

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from train.recipe.settings import Quantization
from train.runtime.errors import ModelError, RecipeError

_PACKED = ("Params4bit", "Int8Params")


def bitsandbytes_config(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the `quantization_config` of `from_pretrained`.

    Args:
        dtype: the dtype to compute in.

    Raises:
        RecipeError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise RecipeError(
            f"load_in_{quantization.bits}bit: bitsandbytes is not installed; "
            "install it with `pip install -c constraints.txt -e '.[quantized]'`"
        )
    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.kind,
        bnb_4bit_use_double_quant=quantization.nested,
        bnb_4bit_compute_dtype=dtype,
    )


def prepare_packed(model: PreTrainedModel) -> None:
    """Let a loaded model's packed layers, where it has any, compute the same with and without gradients.

    Raises:
        ModelError: this machine's bitsandbytes unpacks weights of such a shape wrongly.
    """
    _require_right(model)
    _compute_alike(model)


def _require_right(model: PreTrainedModel) -> None:
    """Unpack random weights of each length of row, and compare them with the same weights as one long row.

    bitsandbytes 0.50.2 takes other scales than those that it packed with on a processor with AVX512, where a row is a
    multiple of 32 weights and not of 64.
    """
    four_bit = [module for module in _packed_modules(model) if _is_four_bit(module)]
    examples = {module.weight.quant_state.shape[-1]: module.weight for module in four_bit}
    wrong = [length for length, weight in sorted(examples.items()) if not _unpacks_rightly(length, weight)]
    if wrong:
        lengths = ", ".join(map(str, wrong))
        raise ModelError(
            f"load_in_4bit: on this processor bitsandbytes unpacks weights wrongly whose rows have {lengths} inputs; "
            "take load_in_8bit, or a GPU"
        )


def _unpacks_rightly(length: int, weight: Any) -> bool:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # not installed with the rest

    rows = torch.randn(64, length, generator=torch.Generator().manual_seed(0)).to(weight.device)
    packed, state = quantize_4bit(rows, quant_type=weight.quant_state.quant_type)
    unpacked = dequantize_4bit(packed, state)
    state.shape = torch.Size((1, rows.numel()))
    return torch.equal(unpacked.flatten(), dequantize_4bit(packed, state).flatten())


def _compute_alike(model: PreTrainedModel) -> None:
    """Let the packed layers compute the same with and without gradients, so that references fit what is trained.

    On a CPU bitsandbytes 0.50 does not. In 4 bits it packs the weights anew at the first pass without gradients, where
    the processor has AVX512-BF16, and no gradient passes them later. In 8 bits it rounds what enters a layer as well,
    but not in training mode.
    """
    # It warns at every pass of every layer that it rounds to 8 bits.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    for module in _packed_modules(model):
        if _is_four_bit(module):
            module.support_avx512bf16_for_cpu = False
        elif module.weight.device.type == "cpu":
            _stay_in_training(module)


def _stay_in_training(module: nn.Module) -> None:
    """Keep a layer in training mode, whatever the mode of the model."""
    module.train()
    vars(module)["train"] = lambda _mode=True: module  # shadows the method of the class


def is_packed(module: nn.Module) -> bool:
    """Return whether bitsandbytes holds the weight of this very module, which an adapter may wrap."""
    return type(module._parameters.get("weight")).__name__ in _PACKED


def _is_four_bit(module: Any) -> bool:
    return type(module.weight).__name__ == "Params4bit"


def _packed_modules(model: nn.Module) -> Iterator[Any]:
    return (module for module in model.modules() if is_packed(module))


def scales(model: nn.Module) -> Iterator[Tensor]:
    """Yield what the packed weights are multiplied by, which is in no parameter."""
    for module in _packed_modules(model):
        weight = module.weight
        if not _is_four_bit(module):
            yield module.state.SCB if weight.SCB is None else weight.SCB
        elif weight.quant_state.nested:
            yield from (weight.quant_state.state2.absmax, weight.quant_state.offset)
        else:
            yield weight.quant_state.absmax


@torch.no_grad()
def unpack_into(plain: PreTrainedModel, packed: PreTrainedModel) -> float:
    """Give a model the weights of a packed one, and return how far they are from its own.

    Args:
        plain: the base as it is without packing, in float32. Its linear layers are changed in place.
        packed: the same base with packed weights.

    Returns:
        The root mean square of the changes, relative to that of the weights.
    """
    changed, whole = 0.0, 0.0
    for name, module in packed.named_modules():
        if is_packed(module):
            own: Any = plain.get_submodule(name)
            weight = dequantize_bnb_weight(module.weight, getattr(module, "state", None)).float()
            if not isinstance(own, nn.Linear):  # GPT-2's Conv1D, whose weight is transposed
                weight = weight.T
            changed += float((weight - own.weight).square().sum(dtype=torch.float64))
            whole += float(own.weight.square().sum(dtype=torch.float64))
            own.weight.copy_(weight)
    return (changed / whole) ** 0.5
