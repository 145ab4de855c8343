"""What a run will cost, told before it starts, and whether its frozen prefix is worth keeping."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, TrainingArguments

from eavss.blocks import find_blocks
from eavss.costs import ForwardCosts, forward_costs
from train.arguments import EavssArguments
from train.files import cache_folder
from train.hardware import say
from train.models import lora_parameters
from train.packing import Packer, row_length
from train.pairs import ContrastPairs
from train.prefix_cache import size_in_bytes, tokens_to_read


@dataclass(frozen=True)
class PairCosts:
    """FLOPs of training on some pairs.

    Args:
        forward: of the model.
        tokens, predicted: a pair's mean number of tokens, shared prompts counted once, and of positions with logits.
        adapter: an adapter's parameters in one block.
        reading: FLOPs of the one pass over every sequence, for references and cache.
    """

    forward: ForwardCosts
    tokens: float
    predicted: float
    adapter: int
    reading: float

    def step(self, layers: Sequence[int], pairs: float, cached: bool) -> float:
        """FLOPs of a step of so many pairs, forward and backward, with adapters on the blocks `layers`."""
        return pairs * self.forward.training(layers, self.tokens, self.predicted, self.adapter, cached)


def pair_costs(model: PreTrainedModel, pairs: ContrastPairs, packer: Packer, args: EavssArguments) -> PairCosts:
    """Count what these pairs will cost."""
    groups = [part for pair in pairs for part in packer.groups([pair.sequences])]
    predicted = sum(len(s) - s.answer_start for pair in pairs for s in (pair.chosen, pair.rejected))
    forward = forward_costs(model)
    return PairCosts(
        forward,
        sum(row_length(group) for group in groups) / len(pairs),
        predicted / len(pairs),
        lora_parameters(model, args),
        forward.reading(tokens_to_read(pairs.sequences()), sum(len(s.answer) for s in pairs.sequences())),
    )


def prefix_layer(model: PreTrainedModel, layers: list[int], pairs: ContrastPairs, args: EavssArguments) -> int | None:
    """The block whose input should be cached; None where that would not pay or not fit."""
    fits = size_in_bytes(model, pairs.sequences()) <= args.prefix_cache_gb * 1e9
    return layers[0] if layers[0] > 0 and fits else None


def announce(
    model: PreTrainedModel,
    layers: list[int],
    pairs: ContrastPairs,
    packer: Packer,
    args: EavssArguments,
    training: TrainingArguments,
) -> int | None:
    """Print the counted cost of a step and the size of the frozen-prefix cache, and return `prefix_layer`."""
    size = size_in_bytes(model, pairs.sequences())
    cached_at = prefix_layer(model, layers, pairs, args)
    step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    costs = pair_costs(model, pairs, packer, args)
    of_all = costs.step(range(len(find_blocks(model).modules)), step, cached=False)
    of_selected = costs.step(layers, step, cached=cached_at is not None)
    say(
        f"a step of {step} pairs, {step * costs.tokens:.0f} tokens: {of_selected / 1e12:.3g} TFLOPs, "
        f"{of_selected / of_all:.0%} of the {of_all / 1e12:.3g} that adapters on all blocks would take"
    )
    if cached_at is not None:
        say(
            f"frozen-prefix cache: {size / 1e6:.1f} MB of what enters block {layers[0]}, in {cache_folder() / 'prefix'}"
        )
    elif layers[0] == 0:
        say("no frozen-prefix cache: block 0 is selected, so nothing below it is frozen")
    else:
        say(f"no frozen-prefix cache: it would take {size / 1e9:.3g} GB, prefix_cache_gb is {args.prefix_cache_gb:g}")
    return cached_at
