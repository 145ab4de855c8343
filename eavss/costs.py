"""Count what training a selection of blocks costs, before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from eavss.blocks import find_blocks

_TOKENS = 16
_FUSED_ATTENTION = (
    f"_scaled_dot_product_{kind}_attention{direction}"
    for kind in ("flash", "efficient", "cudnn")
    for direction in ("", "_backward")
)
_UNCOUNTED = {getattr(torch.ops.aten, name): lambda *_args, **_kwargs: 0 for name in _FUSED_ATTENTION}


@dataclass(frozen=True)
class ForwardCosts:
    """The FLOPs of a forward pass, where a multiplication and an addition count as two.

    Args:
        blocks: the FLOPs of each of the L blocks, for one token.
        head: the FLOPs of the output embeddings, for one position with logits.
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
        """Return the FLOPs of one forward and backward pass, with adapters on the blocks `layers` only.

        The backward pass goes from the head down to the lowest of these blocks. It costs what the forward pass does,
        because frozen weights get no gradient. An adapter's weights do: 4 FLOPs for each token and parameter, besides
        2 in the forward pass.

        Args:
            layers: at least one index.
            tokens: tokens that enter the blocks; a shared prompt counts once.
            predicted: positions with logits.
            lora_parameters: the adapter's parameters in one block.
            cached: whether the forward pass also starts at the lowest block (a block-input cache).
        """
        lowest = min(layers)
        forward = sum(self.blocks[lowest:] if cached else self.blocks)
        backward = sum(self.blocks[lowest:])
        return tokens * (forward + backward + 6 * lora_parameters * len(layers)) + predicted * 2 * self.head

    def reading(self, tokens: float, predicted: float) -> float:
        """Return the FLOPs of a forward pass through all blocks."""
        return tokens * sum(self.blocks) + predicted * self.head


def flop_counter() -> FlopCounterMode:
    """Return a counter that leaves out fused attention, on a GPU as it does on a CPU.

    There the counter of torch fails on it where keys have fewer heads than queries (2.11).
    """
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)


@torch.no_grad()
def forward_costs(model: PreTrainedModel) -> ForwardCosts:
    """Count the FLOPs of a forward pass by running 16 tokens through `model`.

    Experts that stay idle do not count. Attention over longer texts costs more: about 4 * H FLOPs for each further
    token that a token attends to. For texts of some hundred tokens that is little beside a block's weights.
    """
    blocks = find_blocks(model)
    with flop_counter() as counter:
        model(input_ids=torch.ones(1, _TOKENS, dtype=torch.long, device=model.device), use_cache=False)
    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    return ForwardCosts(
        tuple(counts[f"{blocks.path}.{layer}"] / _TOKENS for layer in range(len(blocks.modules))),
        counts[head] / _TOKENS,
    )
