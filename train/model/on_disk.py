"""A base with an adapter whose weights stay on disk, for a process that must not hold the model whole.

Each weight is read when the module that it belongs to runs, and freed afterwards (accelerate's disk offload). An
adapter is merged in the same way: a weight is merged when it is read, to compute with it or to write it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from accelerate.utils import PrefixedDataset
from peft import PeftModel
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import load_peft_weights
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.accelerate import load_offloaded_parameter

from train.runtime.errors import ModelError

# The device map of `from_pretrained` for such a model.
ON_DISK = {"": "disk"}
# More than the kernel of a convolution is wide.
_TOKENS = 8


def fill_adapter(model: PeftModel, adapter: Path) -> bool:
    """Give an adapter its weights, on a base whose weights are on disk. PEFT drops them, as the base has none either.

    Args:
        model: the adapter on a base that `from_pretrained` loaded with the device map `ON_DISK`. The base's attribute
            `hf_device_map` has to be deleted before, or PEFT would take away the hooks that read the weights.
        adapter: the PEFT folder that the adapter is of.

    Returns:
        False where the model cannot be used: the adapter is more than LoRA on linear layers, the base's files have a
        tied weight under its second name alone, or see `runs_from_disk`.
    """
    if not (_is_plain_lora(model) and _can_be_read(model) and runs_from_disk(model)):
        return False
    saved = load_peft_weights(str(adapter), device="cpu", use_safetensors=True)
    empty = {name: weight for name, weight in model.named_parameters() if ".lora_" in name}
    active = f".{model.active_adapter}."
    weights = {name: saved[name.replace(active, ".")].to(weight.dtype) for name, weight in empty.items()}
    model.load_state_dict(weights, strict=False, assign=True)
    return True


def is_on_disk(model: PeftModel) -> bool:
    """Return whether the base's weights are on disk."""
    return any(parameter.is_meta for parameter in model.parameters())


@torch.no_grad()
def runs_from_disk(model: PreTrainedModel | PeftModel) -> bool:
    """Return whether a model whose weights are on disk runs, tried on a few tokens.

    Some use weights of a module that has not been called, which are nowhere. Llama 4 asks its embeddings for their
    device.
    """
    try:
        model(input_ids=torch.zeros(1, _TOKENS, dtype=torch.long), use_cache=False)
    except RuntimeError:
        return False
    return True


def _is_plain_lora(model: PeftModel) -> bool:
    """Return whether the adapter is LoRA on linear layers, without a variant such as DoRA, and nothing else."""
    tuned = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    return all(
        isinstance(layer, Linear) and not layer.lora_variant and not any(layer.lora_bias.values()) for layer in tuned
    )


def _weights_map(module: nn.Module) -> PrefixedDataset | None:
    """Return where accelerate's hook reads the module's own weights, by name."""
    return getattr(getattr(module, "_hf_hook", None), "weights_map", None)


def _can_be_read(model: PeftModel) -> bool:
    """Return whether the files hold each weight of the base."""
    for module in model.get_base_model().modules():
        names = [name for name, weight in module.named_parameters(recurse=False) if weight.is_meta]
        weights = _weights_map(module)
        # Those of the adapter are empty too, and have no such hook.
        if weights is not None and not {weights.prefix + name for name in names} <= set(weights.dataset):
            return False
    return True


class _Merged(Mapping[str, Tensor]):
    """The weights of a model on disk, each with its adapter added in float32 and then rounded once.

    Args:
        model: the model without weights, whose parameters say what dtype each has.
        weights: the base's, in float32.
        layers: the layers with an adapter, by their names in the base.
    """

    def __init__(self, model: PreTrainedModel, weights: Mapping[str, Tensor], layers: Mapping[str, Linear]) -> None:
        self._model, self._weights, self._layers = model, weights, layers

    def __getitem__(self, name: str) -> Tensor:
        weight = self._weights[name]
        layer = self._layers.get(name.removesuffix(".weight"))
        if layer is not None:
            (adapter,) = layer.lora_A
            weight = weight + layer.get_delta_weight(adapter)  # as PEFT's `merge` adds it
        if not weight.sum(dtype=torch.float64).isfinite():  # without a copy, as `isfinite` of each takes
            raise ModelError(f"nothing was exported: the merged {name} holds NaN or an infinity")
        return weight.to(self._model.get_parameter(name).dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def merge_as_read(model: PeftModel) -> PreTrainedModel:
    """Return the base, whose weights from now on are read with the adapter merged into them.

    Each weight is merged in float32, then rounded to the dtype that its parameter has at that time. So a cast of the
    model's parameters, which hold nothing, rounds each weight once. The model can be saved by `save_pretrained`, which
    reads one file's weights at a time.

    Args:
        model: of `fill_adapter`. It cannot be used afterwards.
    """
    base = cast(PreTrainedModel, model.get_base_model())
    layers = {name: module for name, module in base.named_modules() if isinstance(module, Linear)}
    for name, layer in layers.items():
        base.set_submodule(name, layer.get_base_layer())
    for module in base.modules():
        if (weights := _weights_map(module)) is not None:
            weights.dataset = _Merged(base, weights.dataset, layers)
    vars(base)["hf_device_map"] = ON_DISK
    return base


def distinct_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a model's state dict for `save_pretrained`, without those on disk that are tied to another one.

    It leaves out the tied weights of other models by itself, by their place in memory.
    """
    weights: dict[str, Tensor] = model.state_dict()
    for tied, source in model.all_tied_weights_keys.items():
        if weights[tied].is_meta and load_offloaded_parameter(model, tied).equal(
            load_offloaded_parameter(model, source)
        ):
            del weights[tied]
    return weights
