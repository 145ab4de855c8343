"""Run a model without some of its blocks, or remove them for good."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from eavss.blocks import find_blocks, replace_forward
from eavss.errors import EavssError
from eavss.selectors import check_layers


@contextmanager
def skip_blocks(model: nn.Module, layers: Sequence[int]) -> Iterator[None]:
    """Run the forward passes inside without the named blocks: what enters them is what leaves them.

    Nothing is copied, and everything is as before on exit. A cache of keys and values has no entries for the skipped
    blocks, so pass `use_cache=False`.

    Raises:
        EavssError: see `eavss.selectors.check_layers`.
    """
    modules = find_blocks(model).modules
    named = check_layers(list(layers), len(modules)) if layers else []
    with replace_forward([modules[layer] for layer in named], _pass_on):
        yield


def _pass_on(hidden_states: Tensor, *_args: object, **_kwargs: object) -> Tensor:
    return hidden_states


def remove_blocks(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Remove blocks from a model, in place: the modules, their numbers, and what the config says of each block.

    The model is then a plain one of its class with fewer blocks. A config that describes its blocks in a way that is
    not known here would build another model, so compare what is saved and loaded with `skip_blocks`.

    Raises:
        EavssError: see `eavss.selectors.check_layers`; no block would be left; or the model scales its attention by
            the number of the block.
    """
    blocks = find_blocks(model)
    total = len(blocks.modules)
    removed = set(check_layers(list(layers), total))
    kept = [layer for layer in range(total) if layer not in removed]
    config = model.config.get_text_config(decoder=True)
    if not kept:
        raise EavssError(f"layers: all {total} blocks would be removed; leave one at least")
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        raise EavssError(f"{type(model).__name__} scales attention by the block's number, so none can be removed")
    parent, _, name = blocks.path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.ModuleList(blocks.modules[layer] for layer in kept))
    for number, layer in enumerate(kept):
        for module in blocks.modules[layer].modules():
            if isinstance(vars(module).get("layer_idx"), int):
                module.layer_idx = number  # type: ignore[assignment] # (where it stands in the cache)
    _keep_in_config(config, kept, total)


def _keep_in_config(config: PreTrainedConfig, kept: list[int], total: int) -> None:
    config.num_hidden_layers = len(kept)
    values = dict(vars(config))
    for key, value in values.items():
        if isinstance(value, list) and len(value) == total and "layer" in key:
            setattr(config, key, [value[layer] for layer in kept])
    # The numbers of the blocks without experts, and how many dense ones come first.
    if values.get("mlp_only_layers"):
        config.mlp_only_layers = [kept.index(layer) for layer in values["mlp_only_layers"] if layer in kept]
    if "first_k_dense_replace" in values:
        config.first_k_dense_replace = sum(layer < values["first_k_dense_replace"] for layer in kept)
