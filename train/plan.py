"""What a run will cost, told before it starts, and whether its frozen prefix is worth keeping."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, TrainingArguments

from eavss.blocks import find_blocks
from eavss.costs import ForwardCosts, forward_costs
from train.base.block_inputs import size_in_bytes, tokens_to_read
from train.base.replay_texts import REPLAY_TEXTS, REPLAY_TOKENS
from train.batching.packing import Packer, row_length
from train.batching.pairs import ContrastPairs
from train.model.lora import lora_parameters
from train.recipe.arguments import EavssArguments
from train.runtime.distributed import say
from train.runtime.files import cache_folder


@dataclass(frozen=True)
class PairCosts:
    """FLOPs of training on some pairs.

    Args:
        forward: of the model.
        tokens, predicted: a pair's mean number of tokens, shared prompts counted once, and of positions with logits.
        adapter: an adapter's parameters in one block.
        reading: FLOPs of the one pass over every sequence, for references and cache, and of writing texts to replay.
        replayed: tokens of the base's own text that join a micro-batch.
    """

    forward: ForwardCosts
    tokens: float
    predicted: float
    adapter: int
    reading: float
    replayed: int

    def step(self, layers: Sequence[int], pairs: float, cached: bool, micro_batches: int = 1) -> float:
        """FLOPs of a step of so many pairs, forward and backward, with adapters on the blocks `layers`."""
        of_pairs = self.forward.training(layers, self.tokens, self.predicted, self.adapter, cached)
        # The base's own states go through the head beside the model's.
        of_text = self.forward.training(layers, self.replayed, 2 * self.replayed, self.adapter, cached)
        return pairs * of_pairs + micro_batches * of_text


def pair_costs(model: PreTrainedModel, pairs: ContrastPairs, packer: Packer, args: EavssArguments) -> PairCosts:
    """Count what these pairs will cost."""
    groups = [part for pair in pairs for part in packer.groups([pair.sequences])]
    predicted = sum(len(s) - s.answer_start for pair in pairs for s in (pair.chosen, pair.rejected))
    forward = forward_costs(model)
    reading = forward.reading(tokens_to_read(pairs.sequences()), sum(len(s.answer) for s in pairs.sequences()))
    written = REPLAY_TEXTS * REPLAY_TOKENS if args.replay_weight else 0
    return PairCosts(
        forward,
        sum(row_length(group) for group in groups) / len(pairs),
        predicted / len(pairs),
        lora_parameters(model, args),
        reading + forward.reading(written, written) + forward.reading(written, 0),  # to write them, and to read them
        REPLAY_TOKENS if args.replay_weight else 0,
    )


def prefix_layer(model: PreTrainedModel, layers: list[int], pairs: ContrastPairs, args: EavssArguments) -> int | None:
    """The block whose input should be cached; None where that would not pay or not fit."""
    fits = size_in_bytes(model, pairs.sequences()) <= args.prefix_cache_gb * 1e9
    return layers[0] if layers[0] > 0 and fits else None


@dataclass(frozen=True)
class Plan:
    """What a run is going to do and to cost.

    Args:
        layers: the selected blocks.
        cached_at: the block whose input is cached; None for no cache.
        cache_bytes: the cache's size, or what it would be.
        step_pairs: pairs in an optimiser step, over all ranks.
        step_tokens: their tokens, shared prompts counted once.
        step_flops: FLOPs of a step.
        all_blocks_step_flops: those of the same step with adapters on every block.
        reading_flops: FLOPs of the one pass before training.
    """

    layers: list[int]
    cached_at: int | None
    cache_bytes: int
    step_pairs: int
    step_tokens: float
    step_flops: float
    all_blocks_step_flops: float
    reading_flops: float

    def figures(self, steps: int) -> dict[str, float]:
        """What `results.json` holds of it, for a run of so many steps."""
        return {
            "flops": self.reading_flops + steps * self.step_flops,
            "all_blocks_flops": self.reading_flops + steps * self.all_blocks_step_flops,
        }

    def announce(self, cache_gb: float) -> None:
        """Print it."""
        say(
            f"a step of {self.step_pairs} pairs, {self.step_tokens:.0f} tokens: {self.step_flops / 1e12:.3g} TFLOPs, "
            f"{self.step_flops / self.all_blocks_step_flops:.0%} of the {self.all_blocks_step_flops / 1e12:.3g} that "
            "adapters on all blocks would take"
        )
        if self.cached_at is not None:
            size, where = f"{self.cache_bytes / 1e6:.1f} MB", cache_folder() / "prefix"
            say(f"frozen-prefix cache: {size} of what enters block {self.cached_at}, in {where}")
        elif self.layers[0] == 0:
            say("no frozen-prefix cache: block 0 is selected, so nothing below it is frozen")
        else:
            size = f"{self.cache_bytes / 1e9:.3g} GB"
            say(f"no frozen-prefix cache: it would take {size}, prefix_cache_gb is {cache_gb:g}")


def pairs_in_step(training: TrainingArguments) -> int:
    """Pairs in an optimiser step, over all ranks."""
    return training.train_batch_size * training.gradient_accumulation_steps * training.world_size


def make_plan(
    model: PreTrainedModel,
    layers: list[int],
    pairs: ContrastPairs,
    packer: Packer,
    args: EavssArguments,
    training: TrainingArguments,
) -> Plan:
    """Count what training on `layers` will cost."""
    cached_at = prefix_layer(model, layers, pairs, args)
    micro_batches = training.gradient_accumulation_steps * training.world_size
    step = pairs_in_step(training)
    costs = pair_costs(model, pairs, packer, args)
    every = range(len(find_blocks(model).modules))
    return Plan(
        layers,
        cached_at,
        size_in_bytes(model, pairs.sequences()),
        step,
        step * costs.tokens,
        costs.step(layers, step, cached_at is not None, micro_batches),
        costs.step(every, step, False, micro_batches),
        costs.reading,
    )
