"""LoRA on chosen blocks, and on no others."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from train.recipe.arguments import EavssArguments
from train.runtime.errors import ModelError, RecipeError


def lora_targets(model: PreTrainedModel, args: EavssArguments) -> list[str]:
    """The sorted names of the linear layers inside a block that get an adapter.

    Raises:
        RecipeError: `lora_target_modules` names no linear layer of a block.
    """
    linear = find_blocks(model).linear_names()
    targets = linear if args.lora_target_modules is None else sorted(args.lora_target_modules)
    unknown = [name for name in targets if name not in linear]
    if unknown or not targets:
        raise RecipeError(f"lora_target_modules: {unknown or 'an empty list'} should be among {', '.join(linear)}")
    return targets


def lora_parameters(model: PreTrainedModel, args: EavssArguments) -> int:
    """How many parameters an adapter has in one block: r * (inputs + outputs) of each target."""
    targets = lora_targets(model, args)
    modules = find_blocks(model).modules[0].named_modules()
    return sum(args.lora_r * sum(m.weight.shape) for name, m in modules if name.rpartition(".")[2] in targets)


def lora_config(model: PreTrainedModel, layers: list[int], args: EavssArguments) -> LoraConfig:
    """The recipe's LoRA on the linear layers of the blocks `layers`.

    Raises:
        RecipeError: see `lora_targets`.
    """
    blocks = find_blocks(model)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=lora_targets(model, args),
        layers_to_transform=layers,
        layers_pattern=blocks.pattern,
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in blocks.modules[0].modules()),
    )


def add_lora(model: PreTrainedModel, layers: list[int], args: EavssArguments) -> PeftModel:
    """LoRA on the linear layers of exactly the blocks `layers`.

    Raises:
        RecipeError: see `lora_targets`.
        ModelError: other blocks than `layers` ended up trainable.
    """
    adapted = get_peft_model(model, lora_config(model, layers, args))
    trainable = trainable_blocks(adapted)
    if trainable != layers:
        raise ModelError(f"LoRA was meant for blocks {layers}, but {trainable} became trainable")
    return adapted


def trainable_blocks(model: torch.nn.Module) -> list[int]:
    """The indices of the blocks with a trainable parameter; -1 stands first if one lies outside all blocks."""
    blocks = find_blocks(model)
    inside = {id(p): index for index, block in enumerate(blocks.modules) for p in block.parameters()}
    return sorted({inside.get(id(p), -1) for p in model.parameters() if p.requires_grad})
