"""Several forward passes that start at a block, which may keep keys and values from one to the next."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import Cache

from eavss.batches import TokenSequence
from eavss.blocks import Blocks, capture_block_input, find_blocks, replace_forward
from eavss.prompt_cache import shared_logits
from eavss.shortcuts import agrees


@contextmanager
def start_passes_at(blocks: Blocks, layer: int, states: Sequence[Tensor]) -> Iterator[None]:
    """Run the forward passes inside from block `layer` on; what enters it are the next of `states`, (B, T, H) each.

    `eavss.blocks.start_at_block` is for passes that are independent of each other. Here the blocks below leave the
    cache of keys and values as long as it would be, since models tell from the first block's how far they have read.
    """
    following = iter(states)

    def enter(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> tuple[Any, Any]:
        entering = next(following).to((args[0] if args else kwargs["hidden_states"]).device)
        return ((entering, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": entering})

    handle = blocks.modules[layer].register_forward_pre_hook(enter, with_kwargs=True)
    try:
        with ExitStack() as stack:
            for below in range(layer):
                stack.enter_context(replace_forward([blocks.modules[below]], _passing_on(below)))
            yield
    finally:
        handle.remove()


def _passing_on(layer: int) -> Callable[..., Tensor]:
    """Return the forward pass of a block that only lengthens its part of the cache, by a number a token."""

    def forward(*args: object, **kwargs: object) -> Tensor:
        states = args[0] if args else kwargs["hidden_states"]
        assert isinstance(states, Tensor)
        for cache in (each for each in (*args, *kwargs.values()) if isinstance(each, Cache)):
            nothing = states[:, None, :, :1]  # (B, 1, T, 1)
            cache.update(nothing, nothing, layer)
        return states

    return forward


def can_start_passes_at(model: nn.Module, layer: int) -> bool:
    """Return whether a model that shares prompts says the same if all passes start at block `layer`."""
    name = f"shared prompts that start at block {layer}"
    return agrees(model, name, lambda sequences: started_logits(model, sequences, layer))


def started_logits(model: nn.Module, sequences: Sequence[TokenSequence], layer: int) -> Tensor:
    """Return the logits that predict the answers, from passes that start at a block with the states of earlier ones."""
    entering: list[Tensor] = []
    blocks = find_blocks(model)
    with capture_block_input(blocks, layer, entering.append):
        shared_logits(model, sequences)
    with start_passes_at(blocks, layer, entering):
        return shared_logits(model, sequences)
