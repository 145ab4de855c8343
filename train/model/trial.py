"""What cannot be profiled or trained is refused when the model is loaded, not after minutes of scoring."""

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from eavss.blocks import capture_block_outputs, find_blocks, require_states
from eavss.errors import EavssError
from train.model.lora import adaptable_names, add_lora, lora_targets, require_experts
from train.model.lora_counts import adapted_share
from train.model.sharding import is_divided
from train.recipe.settings import LoraSettings
from train.runtime.distributed import say
from train.runtime.errors import ModelError, RecipeError
from train.runtime.seeding import random_stream

# Below this share of adapted weights a user may think that more is trained than is.
_MOST = 0.9
_TOKENS = 8


def require_trainable(model: PreTrainedModel, settings: LoraSettings) -> None:
    """Try a forward and a backward pass of a few tokens with LoRA on every block, and say what is not adapted.

    The model is left without an adapter. One that is divided among the ranks is not tried.

    Raises:
        RecipeError, ModelError: see `train.model.lora.lora_targets`.
        EavssError: a block returns no states (B, T, H).
        ModelError: a block cannot be adapted, or its adapter changes nothing.
    """
    if settings.experts:
        require_experts(model)
    _say_share(model, settings)
    if is_divided(model):  # a backward pass needs weights that are freed by then
        return
    blocks = list(range(len(find_blocks(model).modules)))
    with random_stream(0):
        try:
            adapted = add_lora(model, blocks, settings)
            idle = _blocks_without_gradient(model, blocks)
            adapted.unload()
        except (RecipeError, ModelError, EavssError):
            raise
        except Exception as error:  # whatever an unknown architecture raises
            words = " ".join(str(error).split())[:200]
            raise ModelError(f"{_name(model)} cannot be trained with LoRA: {type(error).__name__}: {words}") from None
    if idle:
        experts = " and the experts" if settings.experts else ""
        targets = f"{', '.join(lora_targets(model, settings))}{experts}"
        raise ModelError(f"{_name(model)}: adapters on {targets} in blocks {idle} change nothing")


def _blocks_without_gradient(model: PreTrainedModel, blocks: list[int]) -> list[int]:
    """Return the blocks whose adapters get no gradient.

    Raises:
        EavssError: a block returns no states (B, T, H).
    """
    vocabulary: int = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.arange(_TOKENS, device=model.device).unsqueeze(0) + vocabulary // 2

    def check(layer: int, output: Tensor) -> None:
        require_states(output, ids.shape, layer)

    found = find_blocks(model)
    with capture_block_outputs(found, blocks, check):
        logits = model(input_ids=ids, use_cache=False).logits
    logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, 1:].unsqueeze(1)).sum().backward()
    return [block for block in blocks if not _all_learn(found.modules[block])]


def _all_learn(block: nn.Module) -> bool:
    """Return whether something in a block gets a gradient, and each adapter of its experts."""
    experts = [module.lora_B for module in block.modules() if isinstance(module, ParamWrapper)]
    return all(any(p.grad is not None and p.grad.any() for p in module.parameters()) for module in (block, *experts))


def _say_share(model: PreTrainedModel, settings: LoraSettings) -> None:
    targets, share = lora_targets(model, settings), adapted_share(model, settings)
    if settings.target_modules is not None or share >= _MOST:
        return
    found = find_blocks(model)
    refused = sorted({*found.linear_names()} - {*adaptable_names(model)})
    left = f" PEFT cannot adapt {', '.join(refused)} in chosen blocks of this model." if refused else ""
    has_experts = any(found.fused_experts(layer) for layer in range(len(found.modules)))
    if has_experts and not settings.experts:
        left += " Its experts stay as they are; lora_experts: true adapts them."
    experts = " and the fused experts" if settings.experts else ""
    rest = "The rest, such as routers or what blocks share, stays as it is."
    say(f"note: LoRA adapts {share:.0%} of the blocks' weights: {', '.join(targets)}{experts}. {rest}{left}")


def _name(model: PreTrainedModel) -> str:
    return type(model).__name__
