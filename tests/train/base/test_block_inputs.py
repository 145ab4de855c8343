"""The pass over the frozen base: references, and training from the lowest selected block on."""

import os
from pathlib import Path

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    PreTrainedModel,
)

from eavss.blocks import find_blocks, start_at_block
from eavss.errors import EavssError
from tests.toys import BLOCKS, EXAMPLES, arguments, count_hooks, naive_logprobs, tiny_model, tiny_tokenizer
from train.base.block_inputs import size_in_bytes
from train.base.reading import BaseOutputs, read_base
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs
from train.model.logits import logits_at, target_logprobs
from train.model.lora import add_lora
from train.runtime.errors import ModelError
from train.runtime.files import cache_folder

SEQUENCES = make_pairs(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, True, seed=0).sequences()
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}


def odd_model(kind: str) -> PreTrainedModel:
    """Architectures that make their own positions, or see through windows of 8 in every other block."""
    torch.manual_seed(0)
    if kind == "bloom":
        config = BloomConfig(vocab_size=300, hidden_size=32, n_layer=BLOCKS, n_head=2, initializer_range=0.1)
        return BloomForCausalLM(config).eval()
    config = Gemma2Config(**SIZES, intermediate_size=64, head_dim=16, num_key_value_heads=1, sliding_window=8)
    return Gemma2ForCausalLM(config).eval()


def read(model: PreTrainedModel, layer: int | None = 2, pack: bool = True, budget: int = 300) -> BaseOutputs:
    return read_base(model, SEQUENCES, Packer.of(model, pack), budget, layer, 1e9)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("pack", [True, False])
def test_references_are_the_base_models(model: PreTrainedModel, pack: bool) -> None:
    found = read(model, pack=pack).references
    assert set(found) == set(SEQUENCES)
    for s in SEQUENCES:
        expected = naive_logprobs(model, s.ids, s.answer_start, s.answer_end).sum().item()
        assert found[s] == pytest.approx(expected, abs=1e-4)


def test_what_an_earlier_call_has_found_spares_the_blocks_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same states and references, and nothing from the layer on runs."""
    model = tiny_model("llama")
    packer = Packer.of(model)
    whole = read_base(model, SEQUENCES, packer, 300, 2, 1e9)
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "another"))
    find_blocks(model).modules[2].register_forward_hook(lambda *_: pytest.fail("block 2 ran"))
    model.train()
    short = read_base(model, SEQUENCES, packer, 300, 2, 1e9, earlier=whole)
    assert not model.training
    assert short.references == whole.references
    assert short.prefix is not None
    assert whole.prefix is not None
    torch.testing.assert_close(short.prefix.states, whole.prefix.states, rtol=0, atol=0)
    assert whole.prefix.states.abs().sum(1).min() > 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "qwen2", "bloom", "gemma2"])
@pytest.mark.parametrize("layer", [1, BLOCKS - 1])
@torch.no_grad()
def test_starting_at_a_block_changes_nothing(kind: str, layer: int) -> None:
    """The same losses to 1e-5 in float32, with other neighbours in the row and in the batch than when it was filled."""
    model = odd_model(kind) if kind in ("bloom", "gemma2") else tiny_model(kind)
    packer = Packer.of(model)
    prefix = read(model, layer).prefix
    assert prefix is not None
    batch = packer([SEQUENCES[4:6], SEQUENCES[1:2], SEQUENCES[9:10]])
    ran: list[int] = []
    for number, block in enumerate(find_blocks(model).modules):
        next(block.children()).register_forward_pre_hook(lambda *_a, number=number: ran.append(number))
    values = []
    for entry in (False, True):
        ran.clear()
        if entry:
            with start_at_block(find_blocks(model), layer, prefix.gather(batch)):
                logits = logits_at(model, model, batch.inputs, batch.rows, batch.columns)
        else:
            logits = logits_at(model, model, batch.inputs, batch.rows, batch.columns)
        values.append(target_logprobs(logits, batch.targets)[0])
        assert ran == list(range(layer if entry else 0, BLOCKS))
    torch.testing.assert_close(values[0], values[1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_in_bfloat16_the_cache_differs_no_more_than_padding_does() -> None:
    model = tiny_model("llama").bfloat16()
    packer = Packer.of(model)
    prefix = read(model, 2).prefix
    assert prefix is not None
    differences: dict[str, list[float]] = {"cache": [], "padding": []}
    for s in SEQUENCES:
        alone, padded = packer([[s]]), packer([[s], [SEQUENCES[0], SEQUENCES[1]]])
        plain = target_logprobs(logits_at(model, model, alone.inputs, alone.rows, alone.columns), alone.targets)[0]
        wide = target_logprobs(logits_at(model, model, padded.inputs, padded.rows, padded.columns), padded.targets)[0]
        with start_at_block(find_blocks(model), 2, prefix.gather(alone)):
            cached = target_logprobs(logits_at(model, model, alone.inputs, alone.rows, alone.columns), alone.targets)[0]
        differences["cache"].append((cached - plain).abs().mean().item())
        differences["padding"].append((wide[: len(plain)] - plain).abs().mean().item())
    assert max(differences["padding"]) > 0
    assert sum(differences["cache"]) <= 1.5 * sum(differences["padding"])


def test_a_second_run_reads_the_cache_and_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    first = read(model)
    monkeypatch.setattr("train.base.reading._read_pairs", lambda *_: pytest.fail("read again"))
    second = read(model, budget=100)  # in other batches
    assert second.references == first.references
    assert first.prefix is not None
    assert second.prefix is not None
    assert torch.equal(first.prefix.states, second.prefix.states)
    assert first.prefix.states.numel() * 4 == size_in_bytes(model, SEQUENCES)


def test_the_key_tells_model_data_block_and_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    read(tiny_model("llama"))
    other = tiny_model("llama")
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    for number, (model, layer, pack) in enumerate(
        [(other, 2, True), (tiny_model("llama"), 1, True), (tiny_model("llama"), 2, False)], start=2
    ):
        read(model, layer, pack)
        assert len(list((cache_folder() / "prefix").iterdir())) == number
    read_base(tiny_model("llama"), SEQUENCES[:3], Packer.of(other), 300, 2, 1e9)
    assert len(list((cache_folder() / "prefix").iterdir())) == 5


def test_the_longest_unused_caches_make_room() -> None:
    model = tiny_model("llama")
    size = size_in_bytes(model, SEQUENCES)
    for layer in (1, 2):
        read(model, layer)
    folder = cache_folder() / "prefix"
    first = min(folder.iterdir(), key=lambda each: each.stat().st_mtime)
    os.utime(first, (1, 1))
    read_base(model, SEQUENCES, Packer.of(model), 300, 3, 2.5 * size)
    assert len(list(folder.iterdir())) == 2
    assert not first.exists()


def test_an_interrupted_pass_leaves_nothing_that_is_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    with monkeypatch.context() as patch:
        patch.setattr("train.base.reading.target_logprobs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            read(model)
    assert not list((cache_folder() / "prefix").iterdir())
    assert read(model).references == read(model, layer=None).references


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ModelError, match=r"no room for the frozen-prefix cache, .* \(No space left on device\)"):
        read(tiny_model("llama"))
    assert not list((cache_folder() / "prefix").iterdir())


def test_references_never_come_from_an_adapter(tmp_path: Path) -> None:
    model = tiny_model("llama")
    add_lora(model, [2], arguments(tmp_path)[0])
    with pytest.raises(ValueError, match="before an adapter"):
        read(model)


def test_entering_leaves_no_trace(model: PreTrainedModel) -> None:
    hooks, ids = count_hooks(model), torch.arange(6).view(1, 6)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with pytest.raises(EavssError), start_at_block(find_blocks(model), 2, torch.zeros(1, 6, 32)):
            raise EavssError("inside")
        assert torch.equal(model(input_ids=ids).logits, before)
    assert count_hooks(model) == hooks
    assert all("forward" not in vars(block) for block in find_blocks(model).modules)
