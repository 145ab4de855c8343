"""The states that enter the lowest trained block on the texts of an evaluation: nothing below it is trained.

$EAVSS_CACHE/prefix/KEY/BATCH.safetensors    what enters the block in each forward pass over a batch, with a checksum

The base fills these files while it is evaluated, and the trained model starts at the block with them. Block, weights
below it and all that rounding depends on make KEY, and the tokens of a batch make BATCH.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from eavss.block_passes import padded_logits, says_the_same_from, start_passes_at
from eavss.blocks import capture_block_input, find_blocks
from eavss.prompt_cache import shared_logits
from eavss.rewiring import is_rewired
from train.model.kept_figures import surroundings
from train.model.kept_tensors import KeptTensors
from train.model.loading import base_fingerprint
from train.model.sharding import is_divided


@dataclass(frozen=True)
class LowerBlocks:
    """Keeps what enters a block in the forward passes over a batch, or starts there with what was kept.

    Args:
        model: the base, or one with an adapter on `layer` and above alone.
        layer: the block.
        kept: where the states are kept.
    """

    model: PreTrainedModel | PeftModel
    layer: int
    kept: KeptTensors

    @cached_property
    def _folder(self) -> str:
        key = [base_fingerprint(self.model).hex(), str(self.model.dtype), surroundings(self.model), self.layer]
        return f"evaluation-{_hash(key)}"

    @staticmethod
    def of(model: PreTrainedModel | PeftModel, layer: int | None, kept: KeptTensors) -> "LowerBlocks | None":
        """Return the blocks below the lowest one with an adapter, or below `layer`; None where nothing is to be kept.

        Args:
            layer: the lowest block that will be trained, of a model that has no adapter; None where none will be.
        """
        layer = lowest_adapted(model) if isinstance(model, PeftModel) else layer
        if not layer or not kept.limit_bytes or is_divided(model) or is_rewired(model):
            return None
        return LowerBlocks(model, layer, kept)

    def _can_start(self, shared: bool) -> bool:
        """Return whether the model says the same when it starts at the block, as an earlier evaluation has found."""
        name = "tried-with-shared-prompts" if shared else "tried"
        found = self.kept.read(self._folder, name)
        if found is None:
            same = says_the_same_from(self.model, self.layer, shared_logits if shared else padded_logits)
            found = {"same": torch.tensor(same)}
            self.kept.keep(self._folder, name, found)
        return bool(found["same"])

    @contextmanager
    def running(self, sequences: Sequence[TokenSequence], shared: bool, token_budget: int) -> Iterator[None]:
        """Run the forward passes inside, which read one batch, from the block on, or whole where nothing is kept yet.

        Ranks need not agree on which it is, since the scores are the same.

        Args:
            sequences: the batch.
            shared, token_budget: how the passes divide it.
        """
        ids = [(sequence.ids, sequence.answer_start, sequence.answer_end) for sequence in sequences]
        name = _hash([ids, shared, token_budget])
        states = self.kept.read(self._folder, name)
        blocks = find_blocks(self.model)
        if states is not None and self._can_start(shared):
            with start_passes_at(blocks, self.layer, [states[str(number)] for number in range(len(states))]):
                yield
            return
        found: list[Tensor] = []
        with capture_block_input(blocks, self.layer, lambda entering: found.append(entering.to("cpu", copy=True))):
            yield
        if states is None:
            self.kept.keep(self._folder, name, {str(number): each for number, each in enumerate(found)})


def lowest_adapted(model: PeftModel) -> int | None:
    """Return the lowest block with an adapter; None where there is one outside the blocks."""
    blocks = find_blocks(model)
    of_block = {id(part): index for index, block in enumerate(blocks.modules) for part in block.modules()}
    found = [of_block.get(id(part), 0) for part in model.modules() if isinstance(part, BaseTunerLayer)]
    return min(found, default=None)


def _hash(key: object) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
