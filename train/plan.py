"""What a run will cost, told before it starts, and whether its frozen prefix is worth keeping."""

from transformers import PreTrainedModel, TrainingArguments

from eavss.blocks import find_blocks
from eavss.costs import forward_costs
from train.arguments import EavssArguments
from train.files import cache_folder
from train.hardware import say
from train.models import lora_parameters
from train.packing import Packer, row_length
from train.pairs import ContrastPairs
from train.prefix_cache import size_in_bytes


def announce(
    model: PreTrainedModel,
    layers: list[int],
    pairs: ContrastPairs,
    packer: Packer,
    args: EavssArguments,
    training: TrainingArguments,
) -> int | None:
    """Print the counted cost of a step and the size of the frozen-prefix cache.

    Returns:
        The block whose input should be cached; None where that would not pay or not fit.
    """
    size = size_in_bytes(model, pairs.sequences())
    cached = layers[0] > 0 and size <= args.prefix_cache_gb * 1e9
    groups = [part for pair in pairs for part in packer.groups([pair.sequences])]
    step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size / len(pairs)
    tokens = step * sum(row_length(group) for group in groups)
    predicted = step * sum(len(s) - s.answer_start for pair in pairs for s in (pair.chosen, pair.rejected))
    costs = forward_costs(model)
    adapter = lora_parameters(model, args)
    everything = list(range(len(find_blocks(model).modules)))
    of_all = costs.training(everything, tokens, predicted, adapter)
    of_selected = costs.training(layers, tokens, predicted, adapter, cached)
    say(
        f"a step of {step * len(pairs):.0f} pairs, {tokens:.0f} tokens: {of_selected / 1e12:.3g} TFLOPs, "
        f"{of_selected / of_all:.0%} of the {of_all / 1e12:.3g} that adapters on all blocks would take"
    )
    if cached:
        say(
            f"frozen-prefix cache: {size / 1e6:.1f} MB of what enters block {layers[0]}, in {cache_folder() / 'prefix'}"
        )
    elif layers[0] == 0:
        say("no frozen-prefix cache: block 0 is selected, so nothing below it is frozen")
    else:
        say(f"no frozen-prefix cache: it would take {size / 1e9:.3g} GB, prefix_cache_gb is {args.prefix_cache_gb:g}")
    return layers[0] if cached else None
