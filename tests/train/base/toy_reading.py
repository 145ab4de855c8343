"""A toy model's training sequences, and the reader of its base."""

from transformers import PreTrainedModel

from tests.toys import EXAMPLES, tiny_tokenizer
from train.base.reading import BaseOutputs, BaseReader
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs

SEQUENCES = make_pairs(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, True, seed=0).sequences()


def reader_of(model: PreTrainedModel, pack: bool = True, budget: int = 300) -> BaseReader:
    return BaseReader(model, Packer.of(model, pack), SEQUENCES, [], budget)


def read(model: PreTrainedModel, layer: int | None = 2, pack: bool = True, budget: int = 300) -> BaseOutputs:
    return reader_of(model, pack, budget).read(layer, 1e9)
