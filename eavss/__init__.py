"""Find the decoder blocks in which a causal language model hallucinates."""

from eavss.batches import Batch, TokenSequence, encode, pad
from eavss.blocks import Blocks, capture_block_outputs, find_blocks
from eavss.errors import EavssError
from eavss.profile import LayerProfile, PairedBatch, profile_batch, profile_model
from eavss.selectors import check_layers, select_layers

__all__ = [
    "Batch",
    "Blocks",
    "EavssError",
    "LayerProfile",
    "PairedBatch",
    "TokenSequence",
    "capture_block_outputs",
    "check_layers",
    "encode",
    "find_blocks",
    "pad",
    "profile_batch",
    "profile_model",
    "select_layers",
]
