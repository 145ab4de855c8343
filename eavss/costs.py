"""What training a selection of blocks costs, counted before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from eavss.blocks import find_blocks

_TOKENS = 16


@dataclass(frozen=True)
class ForwardCosts:
    """FLOPs of a forward pass (a multiplication and an addition are two).

    Args:
        blocks: of each of the L blocks, for one token.
        head: of the output embeddings, for one position whose logits are wanted.
    """

    blocks: tuple[float, ...]
    head: float

    def training(
        self,
        layers: Sequence[int],
        tokens: float,
        predicted: float,
        lora_parameters: float = 0.0,
        cached: bool = True,
    ) -> float:
        """FLOPs of one training pass, forward and backward, with adapters on the blocks `layers` alone.

        The backward pass goes from the head down to the lowest of them. Frozen weights get no gradient, so it costs
        what the forward pass does; an adapter's weights do (4 FLOPs a token and parameter, beside 2 forward).

        Args:
            layers: at least one index.
            tokens: tokens that enter the blocks, prompts that are shared counted once.
            predicted: positions whose logits are wanted.
            lora_parameters: the adapter's parameters in one block.
            cached: the forward pass too starts at the lowest block (a frozen-prefix cache).
        """
        lowest = min(layers)
        forward = sum(self.blocks[lowest:] if cached else self.blocks)
        backward = sum(self.blocks[lowest:])
        return tokens * (forward + backward + 6 * lora_parameters * len(layers)) + predicted * 2 * self.head

    def reading(self, tokens: float, predicted: float) -> float:
        """FLOPs of a forward pass through all blocks."""
        return tokens * sum(self.blocks) + predicted * self.head


@torch.no_grad()
def forward_costs(model: PreTrainedModel) -> ForwardCosts:
    """Counted by running 16 tokens through `model`, so that experts that stay idle do not count.

    Attention over longer texts costs more: about 4 * H FLOPs for each further token that a token sees, which is little
    beside a block's weights in texts of some hundred tokens.
    """
    blocks = find_blocks(model)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(1, _TOKENS, dtype=torch.long, device=model.device), use_cache=False)
    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    head = model.get_output_embeddings().weight.numel() * 2
    return ForwardCosts(
        tuple(counts[f"{blocks.path}.{layer}"] / _TOKENS for layer in range(len(blocks.modules))), float(head)
    )
