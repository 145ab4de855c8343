"""Check that a checkpoint holds the weights of its model, which transformers would otherwise make up, and numbers."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from train.model.quantization import scales
from train.runtime.errors import ModelError


def require_complete(name: str, model: PreTrainedModel, report: Mapping[str, Collection[Any]]) -> None:
    """Refuse a checkpoint that does not fit its model.

    Tied weights and buffers that a checkpoint may leave out are not missing.

    Args:
        name: the model's name, for the message.
        model: the loaded model.
        report: the loading info of `from_pretrained`.

    Raises:
        ModelError: a weight is missing, has another shape or holds NaN or an infinity, or the checkpoint has blocks
            that its config leaves out.
    """
    problems = {
        "lacks": sorted(report["missing_keys"]),
        "has another shape for": sorted(key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]),
        "has more blocks than its config, such as": sorted(filter(_beyond(model), report["unexpected_keys"])),
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            hint = _longer_name(keys[0], report["unexpected_keys"])
            raise ModelError(f"model_name_or_path: {name} is not complete: it {problem} {keys[0]}{more}{hint}")

    _require_numbers(name, model)


def _require_numbers(name: str, model: PreTrainedModel) -> None:
    """Refuse weights that hold NaN or an infinity: every score and every loss would be NaN, hours later perhaps."""
    # Of a model that is divided among the ranks, each looks at its share.
    shares = {key: getattr(weight, "ds_tensor", weight).detach() for key, weight in model.named_parameters()}
    shares |= {f"the scales of packed weights {number}": scale for number, scale in enumerate(scales(model))}
    broken = [key for key, share in shares.items() if not (share.is_meta or share.sum(dtype=torch.float64).isfinite())]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ModelError(f"model_name_or_path: {name} holds NaN or an infinity in {broken[0]}{more}; download it again")


def _beyond(model: PreTrainedModel) -> Callable[[str], bool]:
    """Return a function that says whether a weight belongs to a block after the model's last one."""
    blocks = find_blocks(model)
    pattern = re.compile(rf"{re.escape(blocks.path)}\.(\d+)\.")

    def beyond(key: str) -> bool:
        found = pattern.match(key)
        return found is not None and int(found.group(1)) >= len(blocks.modules)

    return beyond


def _longer_name(key: str, unexpected: Collection[str]) -> str:
    """Say so where the checkpoint holds the weight under a longer name, as wrapped or unmerged models do."""
    longer = next((each for each in sorted(unexpected) if each.endswith(f".{key}")), None)
    return f"; it holds {longer}: save the model without its wrapper, or merge its adapter first" if longer else ""
