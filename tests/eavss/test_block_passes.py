"""Forward passes that start at a block and keep keys and values say what whole passes say."""

import pytest
import torch
from torch import Tensor, nn

from eavss.block_passes import can_start_passes_at, started_logits
from eavss.blocks import find_blocks
from eavss.prompt_cache import shared_logits
from eavss.shortcuts import trial_sequences
from tests.toys import BLOCKS, KINDS, count_hooks, tiny_model


@pytest.mark.parametrize("kind", KINDS)
def test_passes_that_start_at_a_block_say_the_same(kind: str) -> None:
    model = tiny_model(kind)
    sequences = trial_sequences(model)
    with torch.no_grad():
        whole = shared_logits(model, sequences)
        for layer in range(1, BLOCKS):
            assert torch.equal(started_logits(model, sequences, layer), whole)
    assert can_start_passes_at(model, 1)
    assert count_hooks(model) == 0


def test_a_model_whose_upper_blocks_read_what_the_lower_ones_return_runs_whole() -> None:
    model = tiny_model("llama")
    blocks, returned = find_blocks(model).modules, list[Tensor]()

    def keep(_module: nn.Module, _args: object, output: Tensor) -> None:
        returned[:] = [output]

    blocks[0].register_forward_hook(keep)
    blocks[3].register_forward_hook(lambda _module, _args, output: output + returned[0])
    assert not can_start_passes_at(model, 2)
