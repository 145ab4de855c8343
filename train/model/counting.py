"""Count the FLOPs of the passes without gradients that a model makes, for the record of a run's stages."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from eavss.costs import forward_costs
from train.model.loading import causal_lm
from train.runtime.stages import clock


def count_passes(model: PreTrainedModel | PeftModel) -> None:
    """Let every block and the head of a model tell the clock the FLOPs of what they compute while the model evaluates.

    Padded tokens count, since they are computed; blocks that a pass leaves out do not. What attention costs beyond the
    weights' products is left out as in `eavss.costs`. Training is counted by its plan (`train.plan`).
    """
    bare = causal_lm(model)
    costs = forward_costs(bare)
    for module, flops in zip(find_blocks(bare).modules, costs.blocks, strict=True):
        _tell(module, flops)
    _tell(bare.get_output_embeddings(), costs.head)


def _tell(module: nn.Module, flops: float) -> None:
    """Let a module tell the clock its FLOPs.

    Args:
        module: it takes states (..., T, H), such as (B, T, H), or (N, H) at chosen positions.
        flops: those of one token.
    """

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], _output: object) -> None:
        if not module.training and not torch.is_grad_enabled():
            states = args[0] if args else kwargs["hidden_states"]
            clock.count(flops * states.shape[-3:-1].numel())

    module.register_forward_hook(count, with_kwargs=True)
