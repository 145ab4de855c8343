"""The states that enter the lowest trained block on the texts of an evaluation: nothing below it is trained.

$EAVSS_CACHE/prefix/KEY/BATCH.safetensors    what enters the block in each forward pass over a batch, with a checksum

The base fills these files while it is evaluated, and the trained model starts at the block with them. Block, weights
below it and all that rounding depends on make KEY, and the tokens of a batch make BATCH.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from eavss.block_passes import can_start_passes_at, start_passes_at
from eavss.blocks import capture_block_input, find_blocks
from eavss.rewiring import is_rewired
from eavss.shortcuts import can_start_at
from train.model.disk_room import make_room
from train.model.kept_figures import surroundings
from train.model.loading import base_fingerprint
from train.model.sharding import is_divided
from train.runtime.distributed import say
from train.runtime.files import cache_folder, write_whole


@dataclass(frozen=True)
class LowerBlocks:
    """Keeps what enters a block in the forward passes over a batch, or starts there with what was kept.

    Args:
        model: the base, or one with an adapter on `layer` and above alone.
        layer: the block.
        limit_bytes: how much all block inputs on disk together may take.
        fresh: read nothing that another process has kept.
    """

    model: PreTrainedModel | PeftModel
    layer: int
    limit_bytes: float
    fresh: bool = False

    @cached_property
    def _folder(self) -> Path:
        key = [base_fingerprint(self.model).hex(), str(self.model.dtype), surroundings(self.model), self.layer]
        return cache_folder() / "prefix" / f"evaluation-{_hash(key)}"

    @staticmethod
    def of(
        model: PreTrainedModel | PeftModel, layer: int | None, limit_bytes: float, fresh: bool
    ) -> "LowerBlocks | None":
        """Return the blocks below the lowest one with an adapter, or below `layer`; None where nothing is to be kept.

        Args:
            layer: the lowest block that will be trained, of a model that has no adapter; None where none will be.
        """
        layer = lowest_adapted(model) if isinstance(model, PeftModel) else layer
        if not layer or not limit_bytes or is_divided(model) or is_rewired(model):
            return None
        return LowerBlocks(model, layer, limit_bytes, fresh)

    @contextmanager
    def running(self, sequences: Sequence[TokenSequence], shared: bool, token_budget: int) -> Iterator[None]:
        """Run the forward passes inside, which read one batch, from the block on, or whole where nothing is kept yet.

        Ranks need not agree on which it is, since the scores are the same.

        Args:
            sequences: the batch.
            shared, token_budget: how the passes divide it.
        """
        ids = [(sequence.ids, sequence.answer_start, sequence.answer_end) for sequence in sequences]
        path = self._folder / f"{_hash([ids, shared, token_budget])}.safetensors"
        states = None if self.fresh and path not in _written else _read(path)
        blocks, can_start = find_blocks(self.model), can_start_passes_at if shared else can_start_at
        if states is not None and can_start(self.model, self.layer):
            with start_passes_at(blocks, self.layer, states):
                yield
            return
        found: list[Tensor] = []
        with capture_block_input(blocks, self.layer, lambda entering: found.append(entering.to("cpu", copy=True))):
            yield
        if states is None:
            _keep(path, found, self.limit_bytes)


_written: set[Path] = set()


def lowest_adapted(model: PeftModel) -> int | None:
    """Return the lowest block with an adapter; None where there is one outside the blocks."""
    blocks = find_blocks(model)
    of_block = {id(part): index for index, block in enumerate(blocks.modules) for part in block.modules()}
    found = [of_block.get(id(part), 0) for part in model.modules() if isinstance(part, BaseTunerLayer)]
    return min(found, default=None)


def _hash(key: object) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _read(path: Path) -> list[Tensor] | None:
    """Return what was kept, or None where there is nothing whole; a damaged file is told, and made again."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            states = [file.get_tensor(str(number)) for number in range(len(file.keys()))]
            whole = file.metadata()["checksum"] == _checksum(states)
        os.utime(path.parent)  # used just now
    except (OSError, SafetensorError, KeyError, TypeError):
        whole = False
    if whole:
        return states
    say(f"note: the block inputs {path} are damaged; they are made again")
    return None


def _keep(path: Path, states: Sequence[Tensor], limit_bytes: float) -> None:
    size = sum(each.nbytes for each in states)
    tensors = {str(number): each.contiguous() for number, each in enumerate(states)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if make_room(path.parent.parent, limit_bytes - size):
            checksum = {"checksum": _checksum(states)}
            write_whole(path, lambda temporary: save_file(tensors, temporary, checksum))
            _written.add(path)
    except (OSError, SafetensorError) as error:  # the run has what it needs
        say(f"note: no block inputs are kept in {path.parent} ({error}); EAVSS_CACHE names the folder")


def _checksum(states: Sequence[Tensor]) -> str:
    checksum = 0
    for each in states:
        checksum = zlib.crc32(each.contiguous().view(torch.uint8).numpy(), checksum)
    return str(checksum)
