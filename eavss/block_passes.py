"""Several forward passes that start at a block, which may keep keys and values from one to the next."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from eavss.batches import TokenSequence, pad
from eavss.blocks import Blocks, capture_block_input, evaluating, find_blocks, replace_forward
from eavss.shortcuts import trial_sequences


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


def says_the_same_from(
    model: nn.Module, layer: int, read: Callable[[nn.Module, Sequence[TokenSequence]], Tensor]
) -> bool:
    """Return whether passes that start at block `layer` give the logits of whole ones, bit for bit, on a few tokens.

    Unlike `eavss.shortcuts.agrees` it needs no tolerance, since the same products are computed.

    Args:
        read: returns the logits of some sequences from one or more forward passes.
    """
    sequences, blocks, entering = trial_sequences(model), find_blocks(model), list[Tensor]()
    with torch.no_grad(), evaluating(model):
        try:
            with capture_block_input(blocks, layer, entering.append):
                whole = read(model, sequences)
            read(model, sequences[::-1])  # so that nothing fits which the model keeps from an earlier pass
            with start_passes_at(blocks, layer, entering):
                return torch.equal(read(model, sequences), whole)
        except Exception:  # whatever an unknown architecture raises
            return False


def padded_logits(model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the logits (N, V) that predict the answers, from one pass over all sequences."""
    batch = pad(list(sequences)).to(next(model.parameters()).device)
    logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    rows, columns = batch.answer_mask.nonzero(as_tuple=True)
    return logits[rows, columns - 1]
