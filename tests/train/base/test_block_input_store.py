"""The block-input caches on disk: room for them, and none of them half filled."""

import os
from pathlib import Path

import pytest
from transformers import (
    PreTrainedModel,
)

from tests.toys import BLOCKS, EXAMPLES, tiny_model, tiny_tokenizer
from train.base.block_inputs import size_in_bytes
from train.base.reading import BaseOutputs, BaseReader
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs
from train.runtime.errors import ModelError
from train.runtime.files import cache_folder

SEQUENCES = make_pairs(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, True, seed=0).sequences()
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}


def reader_of(model: PreTrainedModel, pack: bool = True, budget: int = 300) -> BaseReader:
    return BaseReader(model, Packer.of(model, pack), SEQUENCES, [], budget)


def read(model: PreTrainedModel, layer: int | None = 2, pack: bool = True, budget: int = 300) -> BaseOutputs:
    return reader_of(model, pack, budget).read(layer, 1e9)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))


def test_the_longest_unused_caches_make_room() -> None:
    model = tiny_model("llama")
    size = size_in_bytes(model, SEQUENCES)
    for layer in (1, 2):
        read(model, layer)
    folder = cache_folder() / "prefix"
    first = min(folder.iterdir(), key=lambda each: each.stat().st_mtime)
    os.utime(first, (1, 1))
    reader_of(model).read(3, 2.5 * size)
    assert len(list(folder.iterdir())) == 2
    assert not first.exists()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ModelError, match=r"no room for the block-input cache, .* \(No space left on device\)"):
        read(tiny_model("llama"))
    assert not list((cache_folder() / "prefix").iterdir())
