"""Count the parameters of an adapter, and the share of a block's weights that it reaches."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from train.model.lora import adapted_experts, lora_targets
from train.model.sharding import whole_shape
from train.recipe.settings import LoraSettings


def lora_parameters(
    model: PreTrainedModel, settings: LoraSettings, ranks: Mapping[str, int] | None = None
) -> tuple[int, ...]:
    """Count the adapter's parameters in each block: rank * (inputs + outputs) of each target, and of each expert.

    Args:
        ranks: see `eavss.selectors.Selection`; None for all targets with the settings' rank.
    """
    if ranks is not None:
        sizes = adapter_sizes(model, settings)
        return tuple(
            sum(ranks[name] * size for name, size in sizes.items() if name in ranks and name.startswith(f"{layer}."))
            for layer in range(len(find_blocks(model).modules))
        )
    return tuple(
        settings.r
        * (
            sum(sum(whole_shape(weight)) for weight in linear)
            + sum(experts * (rows + columns) for experts, rows, columns in map(whole_shape, fused))
        )
        for linear, fused in _by_block(model, settings)
    )


def _sides(module: nn.Module) -> int:
    return sum(whole_shape(module.weight))


def adapter_sizes(model: PreTrainedModel, settings: LoraSettings) -> dict[str, int]:
    """Return the inputs and outputs of each linear layer that gets an adapter, the parameters that a rank costs.

    They are named by the block's index and the layer's name in it, as "3.mlp.up_proj".
    """
    found, targets = find_blocks(model), lora_targets(model, settings)
    return {
        f"{layer}.{name}": _sides(module)
        for layer in range(len(found.modules))
        for name, module in found.linear_modules(layer).items()
        if name.rpartition(".")[2] in targets
    }


def equivalent_parameters(model: PreTrainedModel, settings: LoraSettings) -> tuple[float, ...]:
    """Count, in each block, the adapter's parameters at the price of a linear layer's: 6 FLOPs for a token and step.

    To experts PEFT adds the adapter's product before they are multiplied. So the gradient of each weight that a token
    meets is computed, for 2 FLOPs, as if it were trained itself. The product itself takes as long for one token as for
    thousands, and is left out.
    """
    active: int | None = getattr(model.config.get_text_config(decoder=True), "num_experts_per_tok", None)
    return tuple(
        settings.r * sum(sum(whole_shape(weight)) for weight in linear)
        + sum((active or experts) * rows * columns / 3 for experts, rows, columns in map(whole_shape, fused))
        for linear, fused in _by_block(model, settings)
    )


def adapted_share(model: PreTrainedModel, settings: LoraSettings, blocks: Sequence[int] | None = None) -> float:
    """Return the share of the blocks' weights that get an adapter.

    Args:
        blocks: the blocks' indices; None for all.
    """
    targets, modules = lora_targets(model, settings, blocks), find_blocks(model).modules
    every = range(len(modules)) if blocks is None else blocks
    weights = [
        weight
        for layer in every
        for weight in (*_adapted(model, layer, targets), *adapted_experts(model, settings, layer).values())
    ]
    adapted = sum(whole_shape(weight).numel() for weight in weights)
    return adapted / sum(whole_shape(parameter).numel() for layer in every for parameter in modules[layer].parameters())


def _by_block(
    model: PreTrainedModel, settings: LoraSettings
) -> Iterator[tuple[list[torch.Tensor], list[nn.Parameter]]]:
    """Yield the linear layers' and the experts' weights that get an adapter, block by block."""
    targets = lora_targets(model, settings)
    for layer in range(len(find_blocks(model).modules)):
        yield _adapted(model, layer, targets), list(adapted_experts(model, settings, layer).values())


def _adapted(model: PreTrainedModel, layer: int, targets: Sequence[str]) -> list[torch.Tensor]:
    """Return the weights of the linear layers in one block that get an adapter."""
    modules = find_blocks(model).linear_modules(layer)
    return [module.weight for name, module in modules.items() if name.rpartition(".")[2] in targets]  # type: ignore[misc]
