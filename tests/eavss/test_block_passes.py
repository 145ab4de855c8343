"""Forward passes that start at a block and keep keys and values say what whole passes say."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from eavss.batches import TokenSequence
from eavss.block_passes import padded_logits, says_the_same_from, start_passes_at
from eavss.blocks import capture_block_input, find_blocks
from eavss.prompt_cache import shared_logits
from eavss.shortcuts import trial_sequences
from tests.toys import BLOCKS, KINDS, count_hooks, tiny_model

WAYS = {"prompts read once": shared_logits, "one pass": padded_logits}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_passes_that_start_at_a_block_say_the_same(
    kind: str, read: Callable[[nn.Module, Sequence[TokenSequence]], Tensor]
) -> None:
    model = tiny_model(kind)
    assert all(says_the_same_from(model, layer, read) for layer in range(1, BLOCKS))
    assert count_hooks(model) == 0


def test_the_states_that_enter_are_the_ones_that_count() -> None:
    model = tiny_model("llama")
    sequences, blocks, entering = trial_sequences(model), find_blocks(model), list[Tensor]()
    with torch.no_grad():
        with capture_block_input(blocks, 2, entering.append):
            whole = shared_logits(model, sequences)
        with start_passes_at(blocks, 2, [states + 1 for states in entering]):
            assert not torch.allclose(shared_logits(model, sequences), whole, atol=1e-2)


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_a_model_whose_upper_blocks_read_what_the_lower_ones_compute_is_found(
    read: Callable[[nn.Module, Sequence[TokenSequence]], Tensor],
) -> None:
    """The first block's attention leaves what it returns, and the last block adds that of the latest pass."""
    model = tiny_model("llama")
    blocks, left = find_blocks(model).modules, list[Tensor]()
    blocks[0].get_submodule("self_attn").register_forward_hook(
        lambda _module, _args, output: left.__setitem__(slice(None), [output[0]])
    )
    blocks[3].register_forward_hook(lambda _module, _args, output: output + left[0][..., -1:, -1:])
    assert not says_the_same_from(model, 2, read)
