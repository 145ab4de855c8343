"""Finding a model's decoder blocks, and what they put out."""

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, T5Config, T5ForConditionalGeneration

from eavss.blocks import Blocks, capture_block_outputs, find_blocks, start_at_block
from eavss.errors import EavssError
from scripts.families.configs import tiny
from tests.toys import BLOCK_PATHS, BLOCKS, HIDDEN, VOCABULARY, count_hooks, tiny_model

LLAMA_NAMES = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
LINEAR_NAMES = {
    "llama": LLAMA_NAMES,
    "gpt2": ["c_attn", "c_fc", "c_proj"],
    "gpt_neox": ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
    "qwen2": LLAMA_NAMES,
}
FINAL_NORMS = {
    "llama": "model.norm",
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "qwen2": "model.norm",
}


def ids(rows: int = 3, tokens: int = 7) -> Tensor:
    return torch.randint(VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(0))


def captured(model: nn.Module, layers: list[int], input_ids: Tensor) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    with torch.no_grad(), capture_block_outputs(find_blocks(model), layers, found.__setitem__):
        model(input_ids=input_ids)
    return found


def test_find_blocks(model_kind: str, model: PreTrainedModel) -> None:
    blocks = find_blocks(model)
    assert blocks.path == BLOCK_PATHS[model_kind]
    assert blocks.pattern == BLOCK_PATHS[model_kind].split(".")[-1]
    assert blocks.modules is model.get_submodule(blocks.path)
    assert len(blocks.modules) == BLOCKS
    assert blocks.linear_names() == LINEAR_NAMES[model_kind]


def test_find_blocks_inside_a_wrapper() -> None:
    """As an adapter wraps a model: the path is the one inside the wrapper."""

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model = tiny_model("llama")
            self.config = self.base_model.config

    blocks = find_blocks(Wrapper())
    assert (blocks.path, blocks.pattern) == ("base_model.model.layers", "layers")


def test_lists_of_the_same_length_inside_the_blocks_are_passed_over() -> None:
    """Four experts in each of four blocks: only the outer list is the blocks."""
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(BLOCKS))
    assert find_blocks(model).path == "model.layers"


@pytest.mark.parametrize("decoder_blocks", [4, 3])
def test_encoder_decoder_is_refused(decoder_blocks: int) -> None:
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=HIDDEN,
        d_kv=16,
        d_ff=64,
        num_heads=2,
        num_layers=BLOCKS,
        num_decoder_layers=decoder_blocks,
    )
    with pytest.raises(EavssError, match="only decoder-only causal language models are supported"):
        find_blocks(T5ForConditionalGeneration(config))


def test_model_without_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers = nn.Sequential(*model.model.layers)
    with pytest.raises(EavssError, match="LlamaForCausalLM: expected one list of 4 decoder blocks, found none"):
        find_blocks(model)


def test_capture_gives_every_row_of_the_residual_stream(model_kind: str, model: PreTrainedModel) -> None:
    """hidden_states[l + 1] is the output of block l, but for the last, which stands there after the final norm."""
    input_ids = ids()
    found = captured(model, list(range(BLOCKS)), input_ids)
    with torch.no_grad():
        states = model(input_ids=input_ids, output_hidden_states=True).hidden_states
        normed = model.get_submodule(FINAL_NORMS[model_kind])(found[BLOCKS - 1])
    assert list(found) == list(range(BLOCKS))
    for layer in range(BLOCKS - 1):
        assert found[layer].shape == (3, 7, HIDDEN)
        torch.testing.assert_close(found[layer], states[layer + 1], rtol=0, atol=0)
    torch.testing.assert_close(normed, states[-1], rtol=0, atol=0)
    assert not torch.allclose(found[BLOCKS - 1], states[-1])


def test_capture_of_some_blocks(model: PreTrainedModel) -> None:
    every = captured(model, list(range(BLOCKS)), ids())
    some = captured(model, [3, 1], ids())
    assert sorted(some) == [1, 3]
    for layer, output in some.items():
        torch.testing.assert_close(output, every[layer], rtol=0, atol=0)


class Shift(nn.Module):
    """A block of an architecture that returns a tuple."""

    def forward(self, hidden: Tensor) -> tuple[Tensor, None]:
        return hidden + 1, None


def test_capture_of_blocks_that_return_tuples() -> None:
    modules = nn.ModuleList([Shift(), Shift()])
    found: dict[int, Tensor] = {}
    with capture_block_outputs(Blocks("layers", modules), [0, 1], found.__setitem__):
        modules[1](modules[0](torch.zeros(3, 2, 5))[0])
    torch.testing.assert_close(found[0], torch.ones(3, 2, 5))
    torch.testing.assert_close(found[1], 2 * torch.ones(3, 2, 5))


def test_capture_of_every_forward_pass_inside() -> None:
    model = tiny_model("llama")
    calls: list[tuple[int, int]] = []
    with (
        torch.no_grad(),
        capture_block_outputs(find_blocks(model), [0, 2], lambda layer, x: calls.append((layer, len(x)))),
    ):
        model(input_ids=ids(rows=3))
        model(input_ids=ids(rows=2))
    model(input_ids=ids(rows=1))
    assert calls == [(0, 3), (2, 3), (0, 2), (2, 2)]


def test_capture_changes_nothing(model: PreTrainedModel) -> None:
    """What the receiver returns does not replace the block's output."""
    with torch.no_grad():
        before = model(input_ids=ids()).logits
        with capture_block_outputs(find_blocks(model), [0], lambda layer, x: torch.zeros_like(x)):
            inside = model(input_ids=ids()).logits
    torch.testing.assert_close(inside, before, rtol=0, atol=0)
    assert count_hooks(model) == 0


def fail(model: PreTrainedModel, layers: list[int]) -> None:
    with capture_block_outputs(find_blocks(model), layers, lambda *_: None):
        assert count_hooks(model) == len(layers)
        raise RuntimeError("in the body")


def test_hooks_are_removed_when_the_body_raises() -> None:
    model = tiny_model("llama")
    with pytest.raises(RuntimeError, match="in the body"):
        fail(model, [0, 1])
    assert count_hooks(model) == 0


def test_hooks_are_removed_when_a_layer_does_not_exist() -> None:
    """The hook on block 0 is set before block 4, which does not exist, is looked up."""
    model = tiny_model("llama")
    with pytest.raises((IndexError, EavssError)):
        fail(model, [0, BLOCKS])
    assert count_hooks(model) == 0


def test_hook_that_never_fires_is_an_error() -> None:
    """Block 2 has been replaced in the model since its blocks were looked up: the hooked one does not run."""
    model = tiny_model("llama")
    blocks = find_blocks(model)
    model.model.layers = nn.ModuleList([*blocks.modules[:2], tiny_model("llama").model.layers[2], blocks.modules[3]])
    with (
        pytest.raises(EavssError, match=r"hooks on blocks \[2\] of model.layers never fired"),
        torch.no_grad(),
        capture_block_outputs(blocks, [0, 2, 3], lambda *_: None),
    ):
        model(input_ids=ids())
    assert count_hooks(model) == 0


def test_capture_without_a_forward_pass_is_an_error() -> None:
    model = tiny_model("gpt2")
    with (
        pytest.raises(EavssError, match=r"\[0, 3\]"),
        capture_block_outputs(find_blocks(model), [3, 0], lambda *_: None),
    ):
        pass


def test_starting_at_a_block_leaves_no_trace(model: PreTrainedModel) -> None:
    hooks, ids = count_hooks(model), torch.arange(6).view(1, 6)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with pytest.raises(EavssError), start_at_block(find_blocks(model), 2, torch.zeros(1, 6, 32)):
            raise EavssError("inside")
        assert torch.equal(model(input_ids=ids).logits, before)
    assert count_hooks(model) == hooks
    assert all("forward" not in vars(block) for block in find_blocks(model).modules)


def test_fused_experts_are_found_and_block_diagonal_layers_are_not() -> None:
    """The second of two blocks of RecurrentGemma's recurrence holds two weights of three dimensions."""
    assert set(find_blocks(tiny("Mixtral")).fused_experts(1)) == {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
    mixed = find_blocks(tiny("Qwen 3 MoE, mixed"))
    assert [len(mixed.fused_experts(layer)) for layer in range(4)] == [0, 2, 0, 2]
    recurrent = find_blocks(tiny("RecurrentGemma"))
    assert any(weight.ndim == 3 and "conv" not in name for name, weight in recurrent.modules[0].named_parameters())
    assert not any(recurrent.fused_experts(layer) for layer in range(4))
