"""LoRA on the selected blocks, and on no others."""

from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from train.model.sharding import whole_shape
from train.recipe.settings import LoraSettings
from train.runtime.errors import ModelError, RecipeError


def lora_targets(model: PreTrainedModel, settings: LoraSettings) -> list[str]:
    """Return the sorted names of the linear layers inside a block that get an adapter.

    Raises:
        RecipeError: `lora_target_modules` names no linear layer of a block.
    """
    linear = find_blocks(model).linear_names()
    targets = linear if settings.target_modules is None else sorted(settings.target_modules)
    unknown = [name for name in targets if name not in linear]
    if unknown or not targets:
        raise RecipeError(f"lora_target_modules: {unknown or 'an empty list'} should be among {', '.join(linear)}")
    return targets


def lora_parameters(model: PreTrainedModel, settings: LoraSettings) -> int:
    """Count the adapter's parameters in one block: r * (inputs + outputs) of each target."""
    targets = lora_targets(model, settings)
    modules = find_blocks(model).modules[0].named_modules()
    return sum(settings.r * sum(whole_shape(m.weight)) for name, m in modules if name.rpartition(".")[2] in targets)


def lora_config(model: PreTrainedModel, blocks: Sequence[int], settings: LoraSettings) -> LoraConfig:
    """Return PEFT's config for LoRA on the linear layers of the blocks named by their indices.

    Raises:
        RecipeError: see `lora_targets`.
    """
    found = find_blocks(model)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=lora_targets(model, settings),
        layers_to_transform=list(blocks),
        layers_pattern=found.pattern,
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in found.modules[0].modules()),
    )


def add_lora(model: PreTrainedModel, blocks: Sequence[int], settings: LoraSettings) -> PeftModel:
    """Put LoRA on the linear layers of exactly the blocks named by their indices.

    Raises:
        RecipeError: see `lora_targets`.
        ModelError: other blocks became trainable.
    """
    adapted = get_peft_model(model, lora_config(model, blocks, settings))
    trainable = trainable_blocks(adapted)
    if trainable != list(blocks):
        raise ModelError(f"LoRA was meant for blocks {list(blocks)}, but {trainable} became trainable")
    return adapted


def trainable_blocks(model: torch.nn.Module) -> list[int]:
    """Return the indices of the blocks with a trainable parameter, and -1 first if one lies outside all blocks."""
    blocks = find_blocks(model)
    inside = {id(p): index for index, block in enumerate(blocks.modules) for p in block.parameters()}
    return sorted({inside.get(id(p), -1) for p in model.parameters() if p.requires_grad})
