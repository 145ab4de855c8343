"""LoRA on the selected blocks, and on no others."""

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from train.recipe.settings import LoraSettings
from train.runtime.errors import ModelError, RecipeError
from train.runtime.seeding import random_stream

_ADAPTABLE: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()


def adaptable_names(model: PreTrainedModel) -> list[str]:
    """Return the sorted leaf names of the linear layers that PEFT can adapt in chosen blocks, over all blocks.

    PEFT refuses some names in some architectures. Others it takes for a mixture's fused experts, and adapts those of
    all blocks, with another rank. Both are found by trying, on a copy of the model without weights.
    """
    if model not in _ADAPTABLE:
        names = find_blocks(model).linear_names()
        _ADAPTABLE[model] = names if _takes(model, names) else [name for name in names if _takes(model, [name])]
    return _ADAPTABLE[model]


def _takes(model: PreTrainedModel, names: Sequence[str]) -> bool:
    """Return whether PEFT puts LoRA on linear layers of these names, and on nothing else."""
    config = LoraConfig(task_type="CAUSAL_LM", r=1, target_modules=list(names), fan_in_fan_out=_transposed(model))
    with random_stream(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what does not come about
        with torch.device("meta"):
            empty = type(model)(copy.deepcopy(model.config))
        try:
            adapted = get_peft_model(empty, config)
        except ValueError:  # names no module that it knows of, or one that it refuses
            return False
    return not getattr(adapted.peft_config["default"], "target_parameters", None)


def _transposed(model: PreTrainedModel) -> bool:
    return any(type(module).__name__ == "Conv1D" for module in find_blocks(model).modules.modules())


def lora_targets(model: PreTrainedModel, settings: LoraSettings, blocks: Sequence[int] | None = None) -> list[str]:
    """Return the sorted names of the linear layers inside some blocks that get an adapter.

    Args:
        blocks: the blocks' indices; None for all.

    Raises:
        RecipeError: `lora_target_modules` names no linear layer of a block, or one that PEFT cannot adapt.
        ModelError: PEFT can adapt no linear layer of the blocks.
    """
    found, adaptable = find_blocks(model).linear_names(), adaptable_names(model)
    named = adaptable if settings.target_modules is None else sorted(settings.target_modules)
    unknown = [name for name in named if name not in adaptable]
    if unknown or (settings.target_modules is not None and not named):
        refused = [name for name in unknown if name in found]
        why = f"PEFT cannot adapt {', '.join(refused)} in chosen blocks of this model; " if refused else ""
        among = ", ".join(adaptable)
        raise RecipeError(f"lora_target_modules: {why}{unknown or 'an empty list'} should be among {among}")
    there = find_blocks(model).linear_names(blocks)
    targets = [name for name in named if name in there]
    if not targets:
        raise ModelError(f"{type(model).__name__}: its blocks have no linear layer that PEFT can adapt")
    return targets


def adapted_experts(model: PreTrainedModel, settings: LoraSettings, layer: int) -> dict[str, nn.Parameter]:
    """Return the fused experts of one block that get an adapter, by their names in the block."""
    return find_blocks(model).fused_experts(layer) if settings.experts else {}


def require_experts(model: PreTrainedModel) -> None:
    """Refuse `lora_experts` for a model without fused experts.

    Raises:
        RecipeError: it has none.
    """
    found = find_blocks(model)
    if not any(found.fused_experts(layer) for layer in range(len(found.modules))):
        raise RecipeError(f"lora_experts: {type(model).__name__} has no fused experts; it should be false")


def lora_config(model: PreTrainedModel, blocks: Sequence[int], settings: LoraSettings) -> LoraConfig:
    """Return PEFT's config for LoRA on the linear layers, and perhaps the experts, of blocks named by their indices.

    Raises:
        RecipeError, ModelError: see `lora_targets` and `require_experts`.
    """
    found = find_blocks(model)
    if settings.experts:
        require_experts(model)
    # By their full names, since PEFT takes parameters of all blocks, whatever `layers_to_transform` says.
    experts = [f"{found.path}.{layer}.{name}" for layer in blocks for name in adapted_experts(model, settings, layer)]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=lora_targets(model, settings, blocks),
        layers_to_transform=list(blocks),
        layers_pattern=found.pattern,
        target_parameters=experts or None,
        fan_in_fan_out=_transposed(model),
    )


def ranked_lora_config(model: PreTrainedModel, ranks: Mapping[str, int], settings: LoraSettings) -> LoraConfig:
    """Return PEFT's config for LoRA on the named linear layers, each with a rank of its own (`rank_pattern`).

    Every update is scaled by the recipe's alpha / r, whatever its rank.

    Args:
        ranks: see `eavss.selectors.Selection`.
    """
    pattern = find_blocks(model).pattern
    scale = settings.alpha / settings.r
    # A key of PEFT's patterns matches the end of a module's name, and is read as a regular expression.
    names = {re.escape(f"{pattern}.{name}"): rank for name, rank in ranks.items()}
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=[f"{pattern}.{name}" for name in ranks],
        rank_pattern=names,
        alpha_pattern={name: scale * rank for name, rank in names.items()},
        fan_in_fan_out=_transposed(model),
    )


def add_lora(
    model: PreTrainedModel, blocks: Sequence[int], settings: LoraSettings, ranks: Mapping[str, int] | None = None
) -> PeftModel:
    """Put LoRA on the linear layers, and perhaps the experts, of exactly the blocks named by their indices.

    Args:
        ranks: see `eavss.selectors.Selection`; None for all linear layers with the settings' rank.

    Raises:
        RecipeError, ModelError: see `lora_config`; or other blocks became trainable.
    """
    config = ranked_lora_config(model, ranks, settings) if ranks else lora_config(model, blocks, settings)
    adapted = get_peft_model(model, config)
    trainable = trainable_blocks(adapted)
    if trainable != list(blocks):
        raise ModelError(f"LoRA was meant for blocks {list(blocks)}, but {trainable} became trainable")
    return adapted


def trainable_blocks(model: torch.nn.Module) -> list[int]:
    """Return the indices of the blocks with a trainable parameter, and -1 first if one lies outside all blocks."""
    blocks = find_blocks(model)
    inside = {id(p): index for index, block in enumerate(blocks.modules) for p in block.parameters()}
    return sorted({inside.get(id(p), -1) for p in model.parameters() if p.requires_grad})
