"""What training a selection of blocks will cost, counted before it starts, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from transformers import PreTrainedModel, TrainingArguments

from eavss.batches import TokenSequence
from eavss.blocks import find_blocks
from eavss.costs import ForwardCosts, forward_costs
from eavss.selectors import Selection
from eavss.shortcuts import can_start_at
from train.base.block_inputs import size_in_bytes, tokens_to_read
from train.batching.packing import Packer
from train.batching.pairs import ContrastPairs
from train.model.lora_counts import equivalent_parameters, lora_parameters
from train.recipe.settings import LoraSettings
from train.runtime.distributed import from_main, say
from train.runtime.files import cache_folder


@dataclass(frozen=True)
class PairCosts:
    """The FLOPs of training on some pairs.

    Args:
        forward: the FLOPs of the model's forward pass.
        tokens: a pair's mean number of tokens, shared prompts counted once.
        predicted: a pair's mean number of positions with logits.
        adapter: the adapter's parameters in each block.
        priced: the same by what they cost (`train.model.lora_counts.equivalent_parameters`).
        reading: the FLOPs of the one pass over every sequence, and of writing and reading the texts to replay.
        replayed: tokens of the replayed text that joins a micro-batch.
        cache_bytes: the size of a block-input cache of the pairs.
        preamble: tokens that the prompts begin with, which each micro-batch reads once.
    """

    forward: ForwardCosts
    tokens: float
    predicted: float
    adapter: tuple[int, ...]
    priced: tuple[float, ...]
    reading: float
    replayed: float
    cache_bytes: int
    preamble: int = 0

    def step(self, blocks: Sequence[int], pairs: float, cached: bool, micro_batches: int = 1) -> float:
        """Count the FLOPs of a step of so many pairs, forward and backward, with adapters on `blocks`.

        Args:
            blocks: indices of the trained blocks.
            pairs: pairs in the step, over all ranks.
            cached: the forward pass starts at the lowest trained block.
            micro_batches: how many texts are replayed in the step.
        """
        of_pair = self.forward.training(blocks, self.tokens, self.predicted, lora_parameters=self.priced, cached=cached)
        # The base's states go through the head beside the model's.
        of_text = self.forward.training(
            blocks, self.replayed, 2 * self.replayed, lora_parameters=self.priced, cached=cached
        )
        of_preamble = self.forward.training(blocks, self.preamble, 0, lora_parameters=self.priced, cached=cached)
        return pairs * of_pair + micro_batches * (of_text + of_preamble)


def pair_costs(
    model: PreTrainedModel, pairs: ContrastPairs, texts: Sequence[TokenSequence], packer: Packer, lora: LoraSettings
) -> PairCosts:
    """Count what training on these pairs costs.

    Args:
        texts: the texts to replay.
    """
    groups = [part for pair in pairs for part in packer.groups([pair.sequences])]
    predicted = sum(len(s) - s.answer_start for pair in pairs for s in (pair.chosen, pair.rejected))
    forward, sequences = forward_costs(model), pairs.sequences()
    of_pairs = forward.reading(tokens_to_read(sequences, packer.preamble), sum(len(s.answer) for s in sequences))
    written = sum(len(text) for text in texts)
    of_texts = forward.reading(written, written) + forward.reading(written, 0)  # writing them, and reading them
    return PairCosts(
        forward=forward,
        tokens=sum(map(packer.length, groups)) / len(pairs),
        predicted=predicted / len(pairs),
        adapter=lora_parameters(model, lora),
        priced=equivalent_parameters(model, lora),
        reading=of_pairs + of_texts,
        replayed=written / len(texts) if texts else 0,
        cache_bytes=size_in_bytes(model, sequences, packer.preamble),
        preamble=len(packer.preamble),
    )


def cached_block(model: PreTrainedModel, selection: Selection, costs: PairCosts, limit_bytes: float) -> int | None:
    """Return the block whose input is worth caching, or None.

    There is none where nothing is frozen below it, the disk is too small, or the model cannot start there.

    Args:
        costs: of the pairs.
        limit_bytes: how much the cache may take.
    """
    lowest = selection.lowest
    worth = lowest > 0 and costs.cache_bytes <= limit_bytes
    return lowest if worth and from_main(lambda: can_start_at(model, lowest)) else None


class RunFlops(TypedDict):
    """Counted FLOPs of a run, and of the same steps with adapters on every block."""

    flops: float
    all_blocks_flops: float


class TrainFigures(RunFlops):
    """What training took, as `results.json` holds it.

    Args:
        steps: the number of optimiser steps, those before a resumed checkpoint included.
        seconds: the time of training alone.
        pairs_per_second: the speed over all ranks, of the steps that this run made.
        peak_memory_bytes: the peak memory of this process, or of its GPU.
        loss: the mean loss over the steps.
        log: the Trainer's log, one entry for each logging step.
        loss_weights: the weight of each term of `train.losses.TERMS` by its name.
        pairs: the number of contrast pairs.
        reading_seconds: the time of everything between the selection and the first step.
    """

    steps: int
    seconds: float
    pairs_per_second: float
    peak_memory_bytes: int
    loss: float
    log: list[dict[str, float]]
    loss_weights: dict[str, float]
    pairs: int
    reading_seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run is going to do and what it will cost.

    Args:
        selection: the blocks to train.
        cached_at: the block whose input is cached; None for no cache.
        cache_bytes: the size of the cache, or the size that it would have.
        step_pairs: pairs in an optimiser step, over all ranks.
        step_tokens: the tokens of these pairs, shared prompts counted once.
        step_flops: the FLOPs of a step.
        all_blocks_step_flops: the FLOPs of the same step with adapters on every block.
        reading_flops: the FLOPs of what is read and written before the first step.
    """

    selection: Selection
    cached_at: int | None
    cache_bytes: int
    step_pairs: int
    step_tokens: float
    step_flops: float
    all_blocks_step_flops: float
    reading_flops: float

    def flops_of(self, steps: int) -> RunFlops:
        """Return the FLOPs of a run of so many steps, as `results.json` holds them."""
        return {
            "flops": self.reading_flops + steps * self.step_flops,
            "all_blocks_flops": self.reading_flops + steps * self.all_blocks_step_flops,
        }

    def announce(self, cache_gb: float) -> None:
        """Print the plan."""
        say(
            f"a step of {self.step_pairs} pairs, {self.step_tokens:.0f} tokens: {self.step_flops / 1e12:.3g} TFLOPs, "
            f"{self.step_flops / self.all_blocks_step_flops:.0%} of the {self.all_blocks_step_flops / 1e12:.3g} that "
            "adapters on all blocks would take"
        )
        if self.cached_at is not None:
            size, where = f"{self.cache_bytes / 1e6:.1f} MB", cache_folder() / "prefix"
            say(f"block-input cache: {size} of what enters block {self.cached_at}, in {where}")
        elif self.selection.lowest == 0:
            say("no block-input cache: block 0 is selected, so nothing below it is frozen")
        elif self.cache_bytes <= cache_gb * 1e9:
            say("no block-input cache: this model cannot start at the lowest selected block")
        else:
            size = f"{self.cache_bytes / 1e9:.3g} GB"
            say(f"no block-input cache: it would take {size}, prefix_cache_gb is {cache_gb:g}")


def pairs_in_step(training: TrainingArguments) -> int:
    """Count the pairs in an optimiser step, over all ranks."""
    return training.train_batch_size * training.gradient_accumulation_steps * training.world_size


def pairs_in_run(training: TrainingArguments) -> int | None:
    """Count the pairs that a fixed number of steps takes; None where the number of epochs decides."""
    return training.max_steps * pairs_in_step(training) if training.max_steps > 0 else None


def make_plan(
    model: PreTrainedModel,
    selection: Selection,
    costs: PairCosts,
    limit_bytes: float,
    training: TrainingArguments,
) -> Plan:
    """Count what training on the selection will cost.

    Args:
        costs: of the pairs.
        limit_bytes: how much the block-input cache may take.
    """
    cached_at = cached_block(model, selection, costs, limit_bytes)
    micro_batches = training.gradient_accumulation_steps * training.world_size
    step = pairs_in_step(training)
    every = range(len(find_blocks(model).modules))
    return Plan(
        selection=selection,
        cached_at=cached_at,
        cache_bytes=costs.cache_bytes,
        step_pairs=step,
        step_tokens=step * costs.tokens,
        step_flops=costs.step(selection.blocks, step, cached_at is not None, micro_batches),
        all_blocks_step_flops=costs.step(every, step, False, micro_batches),
        reading_flops=costs.reading,
    )
