"""What the frozen base says of everything that will be trained on, computed once before training.

The reference log-probabilities of the answers, what enters the lowest selected block, and what enters the head on the
texts to replay.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, group_by_length
from eavss.blocks import capture_block_input, find_blocks
from train.base.block_input_store import finish_cache, kept_references, map_states, start_cache
from train.base.block_inputs import BlockInputCache, by_prompt, offsets_of, shape_of
from train.batching.packing import PackedBatch, Packer
from train.batching.pairs import ReplayText
from train.batching.pieces import Group
from train.model.loading import fingerprint
from train.model.logits import logits_at, require_no_nan, target_logprobs
from train.runtime.distributed import (
    from_each,
    from_main,
    is_host_main_process,
    is_main_process,
    join_bytes,
    map_sharded,
)
from train.runtime.files import cache_folder

_LONGEST_ROW = 512

Batches = list[list[Group]]


@dataclass(frozen=True)
class BaseOutputs:
    """What the base model, without an adapter, computes for the training sequences.

    Args:
        references: the summed log-probability of each sequence's answer, without its end-of-sequence.
        replay: the texts to replay.
        block_inputs: what enters the lowest selected block; None where nothing is cached.
    """

    references: dict[TokenSequence, float]
    replay: list[ReplayText]
    block_inputs: BlockInputCache | None = None


class BaseReader:
    """Runs the base over the training sequences, each once however many choices of blocks are tried.

    Args:
        model: the base, as `load_model` gives it. It must carry no adapter whenever `read` is called.
        packer: how sequences become batches.
        sequences: the pairs' answers; repetitions count once.
        texts: the texts to replay.
        token_budget: padded tokens in a batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        packer: Packer,
        sequences: Sequence[TokenSequence],
        texts: Sequence[TokenSequence],
        token_budget: int,
    ) -> None:
        self._model = model
        self._packer = packer
        together = by_prompt(sequences).values()
        groups = [part for group in together for part in packer.divide(group, _LONGEST_ROW)]
        self._of_pairs = self._batches(groups, token_budget)
        self._of_texts = self._batches([[text] for text in texts], token_budget)
        self._in_order = [sequence for group in together for sequence in group]  # whatever the token budget
        self._offsets = offsets_of([*sequences, *texts], packer.preamble)
        self._known: BaseOutputs | None = None
        self._found: dict[int | None, BaseOutputs] = {}

    def read(self, layer: int | None, limit_bytes: float) -> BaseOutputs:
        """Run the base over all sequences, the batches divided among the ranks.

        What an earlier call or an earlier run has computed is not computed again.

        Args:
            layer: the block whose input is cached; None to cache nothing.
            limit_bytes: how much all caches on disk together may take; those unused for longest make room.

        Raises:
            ValueError: the model has an adapter.
            ModelError: the cache's folder has no room, or a log-probability is NaN.
        """
        if any(isinstance(module, BaseTunerLayer) for module in self._model.modules()):
            raise ValueError("references must come from the base, before an adapter is put on it")
        self._model.eval()
        if layer not in self._found:
            self._found[layer] = self._read_all(None) if layer is None else self._read_cached(layer, limit_bytes)
        return self._found[layer]

    def _read_cached(self, layer: int, limit_bytes: float) -> BaseOutputs:
        """Map the cache that an earlier run has left, or fill a new one.

        Machines may share the cache folder or have one each. Where one of them has no cache, all fill a new one.
        """
        shape = shape_of(self._model, self._offsets, self._packer.preamble)
        own_key = self._key(layer)
        folder = cache_folder() / "prefix" / from_main(lambda: own_key)
        kept = from_each(kept_references(folder) if is_host_main_process() else [])
        if None not in kept:
            cache = BlockInputCache(layer, map_states(folder, shape, self._model.dtype), self._offsets)
            self._known = self._known or BaseOutputs(
                dict(zip(self._in_order, kept[0] or [], strict=True)), self.read_replay_texts(None)
            )
            return replace(self._known, block_inputs=cache)
        size = shape[0] * shape[1] * self._model.dtype.itemsize
        unfinished = folder.with_name(from_main(lambda: start_cache(folder, size, limit_bytes).name))
        apart = is_host_main_process() and not unfinished.is_dir()  # this machine has a cache folder of its own
        if apart:
            start_cache(folder, size, limit_bytes, unfinished)
        any_apart = any(from_each(apart))
        try:
            states = map_states(unfinished, shape, self._model.dtype)
            found = self._read_all(BlockInputCache(layer, states, self._offsets))
            if any_apart:
                join_bytes(states, self._model.device)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        if is_main_process() or apart:
            finish_cache(unfinished, folder, [found.references[sequence] for sequence in self._in_order])
        return found

    def _read_all(self, cache: BlockInputCache | None) -> BaseOutputs:
        """Fill `cache`, if there is one, in the pass that reads references and texts, or alone where they are known."""
        if self._known is None:
            self._known = BaseOutputs(self.read_references(cache), self.read_replay_texts(cache))
        elif cache is not None:
            self.fill_block_inputs(cache)
        return replace(self._known, block_inputs=cache)

    def read_references(self, cache: BlockInputCache | None) -> dict[TokenSequence, float]:
        """Return the reference log-probability of each of the pairs' sequences, and fill `cache` on the way.

        Raises:
            ModelError: a log-probability is NaN.
        """

        def read(groups: list[Group]) -> list[float]:
            batch = self._packer(groups)
            moved = batch.to(self._model.device)
            with torch.no_grad(), self._filling(batch, cache):
                inputs = moved.inputs | {"use_cache": False}
                logits = logits_at(self._model, self._model, inputs, moved.rows, moved.columns)
            sums: list[float] = moved.answer_sums(target_logprobs(logits, moved.targets)[0]).tolist()
            return sums

        parts = map_sharded(read, self._of_pairs, "reading the training sequences")
        sums = [value for part in parts for value in part]
        require_no_nan(sums)
        return dict(zip(_sequences_of(self._of_pairs), sums, strict=True))

    def read_replay_texts(self, cache: BlockInputCache | None) -> list[ReplayText]:
        """Return each text with what enters the base's head on it, and fill `cache` on the way."""

        def read(groups: list[Group]) -> list[Tensor]:
            batch = self._packer(groups)
            entering: list[Tensor] = []

            def keep(_head: nn.Module, args: tuple[Tensor, ...]) -> None:
                entering.append(args[0].cpu()[batch.rows, batch.columns])
                raise _StopForward

            hook = self._model.get_output_embeddings().register_forward_pre_hook(keep)
            try:
                with self._filling(batch, cache):
                    self._run(batch)
            finally:
                hook.remove()
            # Cloned, since a view would take all of them along when it is sent to another rank.
            return [entering[0][batch.sequence == number].clone() for number in range(batch.count)]

        parts = map_sharded(read, self._of_texts, "reading the texts to replay")
        states = [state for part in parts for state in part]
        return [ReplayText(*each) for each in zip(_sequences_of(self._of_texts), states, strict=True)]

    def fill_block_inputs(self, cache: BlockInputCache) -> None:
        """Fill `cache` in a pass that ends at its block."""

        def read(groups: list[Group]) -> None:
            batch = self._packer(groups)
            with self._filling(batch, cache, then_stop=True):
                self._run(batch)

        map_sharded(read, self._of_pairs + self._of_texts, "reading up to the selected blocks")

    @torch.no_grad()
    def _run(self, batch: PackedBatch) -> None:
        with suppress(_StopForward):
            self._model(**batch.to(self._model.device).inputs, use_cache=False)

    def _filling(
        self, batch: PackedBatch, cache: BlockInputCache | None, then_stop: bool = False
    ) -> AbstractContextManager[None]:
        """Make forward passes of the batch inside fill `cache`."""
        if cache is None:
            return nullcontext()

        def keep(states: Tensor) -> None:
            cache.keep(batch, states.cpu())
            if then_stop:
                raise _StopForward

        return capture_block_input(find_blocks(self._model), cache.layer, keep)

    def _batches(self, groups: Sequence[Group], token_budget: int) -> Batches:
        lengths = [self._packer.length(group) for group in groups]
        return [[groups[i] for i in batch] for batch in group_by_length(lengths, token_budget)]

    def _key(self, layer: int) -> str:
        # The token ids stand for the tokenizer and the data.
        digest = hashlib.sha256(fingerprint(self._model))
        settings = [layer, str(self._model.dtype), self._packer.attention, list(self._offsets)]
        digest.update(json.dumps(settings).encode())
        return digest.hexdigest()[:32]


class _StopForward(Exception):  # noqa: N818 - not an error
    """Ends a forward pass that has computed all that is needed."""


def _sequences_of(batches: Batches) -> Iterator[TokenSequence]:
    return (sequence for groups in batches for group in groups for sequence in group)
