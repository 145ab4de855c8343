"""Training can start from the cached inputs of a block, on every architecture that hands on hidden states alone."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    PreTrainedModel,
)

from eavss.batches import TokenSequence
from eavss.blocks import find_blocks, start_at_block
from tests.toys import BLOCKS, naive_logprobs, tiny_model
from tests.train.base.toy_reading import SEQUENCES, read
from train.base.reading import BaseReader
from train.batching.packing import Packer
from train.model.logits import logits_at, target_logprobs

pytestmark = pytest.mark.usefixtures("own_cache")

SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}


def odd_model(kind: str) -> PreTrainedModel:
    """Architectures that make their own positions, or see through windows of 8 in every other block."""
    torch.manual_seed(0)
    if kind == "bloom":
        config = BloomConfig(vocab_size=300, hidden_size=32, n_layer=BLOCKS, n_head=2, initializer_range=0.1)
        return BloomForCausalLM(config).eval()
    config = Gemma2Config(**SIZES, intermediate_size=64, head_dim=16, num_key_value_heads=1, sliding_window=8)
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "qwen2", "bloom", "gemma2"])
@pytest.mark.parametrize("layer", [1, BLOCKS - 1])
@torch.no_grad()
def test_starting_at_a_block_changes_nothing(kind: str, layer: int) -> None:
    """The same losses to 1e-5 in float32, with other neighbours in the row and in the batch than when it was filled."""
    model = odd_model(kind) if kind in ("bloom", "gemma2") else tiny_model(kind)
    packer = Packer.of(model)
    cache = read(model, layer).block_inputs
    assert cache is not None
    batch = packer([SEQUENCES[4:6], SEQUENCES[1:2], SEQUENCES[9:10]])
    ran: list[int] = []
    for number, block in enumerate(find_blocks(model).modules):
        next(block.children()).register_forward_pre_hook(lambda *_a, number=number: ran.append(number))
    values = []
    for entry in (False, True):
        ran.clear()
        if entry:
            with start_at_block(find_blocks(model), layer, cache.gather(batch)):
                logits = logits_at(model, model, batch.inputs, batch.rows, batch.columns)
        else:
            logits = logits_at(model, model, batch.inputs, batch.rows, batch.columns)
        values.append(target_logprobs(logits, batch.targets)[0])
        assert ran == list(range(layer if entry else 0, BLOCKS))
    torch.testing.assert_close(values[0], values[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.no_grad()
def test_a_preamble_is_kept_once(kind: str) -> None:
    """The states of what all prompts begin with stand once in the cache, and training from them changes nothing."""
    model = tiny_model(kind)
    begun = [TokenSequence((*range(30, 50), 60 + n, 70 + n, 100 + n, 256), 22, 23) for n in range(8)]
    other = TokenSequence((5, 6, 7, 8, 256), 2, 4)
    packer = Packer.of(model, sequences=[other, *begun])
    cache = BaseReader(model, packer, [other, *begun], [], 60).read(2, 1e9).block_inputs
    assert cache is not None
    assert len(cache.states) == 20 + 8 * (2 + 2) + 5
    batch = packer([[begun[3]], [other], begun[6:7]])
    with start_at_block(find_blocks(model), 2, cache.gather(batch)):
        logits = logits_at(model, model, batch.inputs, batch.rows, batch.columns)
    found, _ = target_logprobs(logits, batch.targets)
    for number, s in enumerate((begun[3], other, begun[6])):
        expected = naive_logprobs(model, s.ids, s.answer_start, len(s))
        torch.testing.assert_close(found[batch.sequence == number].double(), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_in_bfloat16_the_cache_differs_no_more_than_padding_does() -> None:
    model = tiny_model("llama").bfloat16()
    packer = Packer.of(model)
    cache = read(model, 2).block_inputs
    assert cache is not None
    differences: dict[str, list[float]] = {"cache": [], "padding": []}
    for s in SEQUENCES:
        alone, padded = packer([[s]]), packer([[s], [SEQUENCES[0], SEQUENCES[1]]])
        plain = target_logprobs(logits_at(model, model, alone.inputs, alone.rows, alone.columns), alone.targets)[0]
        wide = target_logprobs(logits_at(model, model, padded.inputs, padded.rows, padded.columns), padded.targets)[0]
        with start_at_block(find_blocks(model), 2, cache.gather(alone)):
            cached = target_logprobs(logits_at(model, model, alone.inputs, alone.rows, alone.columns), alone.targets)[0]
        differences["cache"].append((cached - plain).abs().mean().item())
        differences["padding"].append((wide[: len(plain)] - plain).abs().mean().item())
    assert max(differences["padding"]) > 0
    assert sum(differences["cache"]) <= 1.5 * sum(differences["padding"])
