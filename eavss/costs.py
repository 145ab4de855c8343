"""Count what training a selection of blocks costs, before it starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

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
        lora_parameters: Sequence[float] = (),
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
            lora_parameters: the adapter's parameters in each of the L blocks; () for no adapter.
            cached: whether the forward pass also starts at the lowest block (a block-input cache).
        """
        lowest = min(layers)
        forward = sum(self.blocks[lowest:] if cached else self.blocks)
        backward = sum(self.blocks[lowest:])
        adapter = 6 * sum(lora_parameters[layer] for layer in layers) if lora_parameters else 0
        return tokens * (forward + backward + adapter) + predicted * 2 * self.head

    def reading(self, tokens: float, predicted: float) -> float:
        """Return the FLOPs of a forward pass through all blocks."""
        return tokens * sum(self.blocks) + predicted * self.head


def flop_counter() -> FlopCounterMode:
    """Return a counter that leaves out fused attention, on a GPU as on a CPU, and counts experts and packed weights.

    On a GPU the counter of torch fails on attention where keys have fewer heads than queries (2.11). Experts are
    multiplied by `grouped_mm`: each of its S rows, a token for one of its experts, meets one matrix. Weights in 4 or 8
    bits are multiplied by operators of bitsandbytes.
    """
    products: dict[object, Callable[..., int]] = {torch.ops.aten._grouped_mm: _grouped_flops}
    # The others are registered with the first model that needs them.
    if hasattr(torch.ops.transformers, "grouped_mm_fallback"):
        products[torch.ops.transformers.grouped_mm_fallback] = _grouped_flops
    if hasattr(torch.ops.bitsandbytes, "gemm_4bit"):
        products[torch.ops.bitsandbytes.gemm_4bit] = _packed_flops
        products[torch.ops.bitsandbytes.int8_mixed_scaled_mm] = _packed_flops
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED | products)


def _packed_flops(left: Sequence[int], _: object, right: Sequence[int], *_args: object, **_kwargs: object) -> int:
    """Count (..., K) @ (K, N), where `right` is (N, K), the shape of the weight when it is not packed."""
    return 2 * prod(left) * right[0]


def _grouped_flops(left: Sequence[int], right: Sequence[int], *_args: object, **_kwargs: object) -> int:
    """Count (S, K) @ (experts, K, N), or one of its gradients; the arguments are shapes."""
    return 2 * left[-2] * left[-1] * right[-1]


@torch.no_grad()
def forward_costs(model: PreTrainedModel) -> ForwardCosts:
    """Count the FLOPs of a forward pass by running 16 tokens through `model`.

    Of a mixture's experts those count that a token goes through. Attention over longer texts costs more: about 4 * H
    FLOPs for each further token that a token attends to. For texts of some hundred tokens that is little beside a
    block's weights.
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
