"""Find the decoder blocks in which a causal language model hallucinates.

A name is imported when it is first used, so that `import eavss` does not wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eavss.activation import active_shares, mean_activation, pattern_similarity
    from eavss.batches import Batch, TokenSequence, pad
    from eavss.blocks import Blocks, capture_block_outputs, find_blocks
    from eavss.encoding import encode, encode_answers
    from eavss.errors import EavssError
    from eavss.pairing import Question, batch_questions, profile_answers
    from eavss.plots import plot_profile
    from eavss.profile import LayerProfile, PairedBatch, profile_batch, profile_model
    from eavss.rewiring import middle_blocks, rewired, rewiring_order
    from eavss.selectors import Selection, check_layers, count_to_select, select_layers
    from eavss.similarity import state_similarity, three_groups
    from eavss.snippets import axolotl_snippet, peft_snippet
    from eavss.sparsity import prune_ratios, pruned
    from eavss.stability import Stability, stability
    from eavss.verdict import stability_record, verdict

__all__ = [
    "Batch",
    "Blocks",
    "EavssError",
    "LayerProfile",
    "PairedBatch",
    "Question",
    "Selection",
    "Stability",
    "TokenSequence",
    "active_shares",
    "axolotl_snippet",
    "batch_questions",
    "capture_block_outputs",
    "check_layers",
    "count_to_select",
    "encode",
    "encode_answers",
    "find_blocks",
    "mean_activation",
    "middle_blocks",
    "pad",
    "pattern_similarity",
    "peft_snippet",
    "plot_profile",
    "profile_answers",
    "profile_batch",
    "profile_model",
    "prune_ratios",
    "pruned",
    "rewired",
    "rewiring_order",
    "select_layers",
    "stability",
    "stability_record",
    "state_similarity",
    "three_groups",
    "verdict",
]

_MODULES = {
    "activation": "active_shares mean_activation pattern_similarity",
    "batches": "Batch TokenSequence pad",
    "blocks": "Blocks capture_block_outputs find_blocks",
    "encoding": "encode encode_answers",
    "errors": "EavssError",
    "pairing": "Question batch_questions profile_answers",
    "plots": "plot_profile",
    "profile": "LayerProfile PairedBatch profile_batch profile_model",
    "rewiring": "middle_blocks rewired rewiring_order",
    "selectors": "Selection check_layers count_to_select select_layers",
    "similarity": "state_similarity three_groups",
    "snippets": "axolotl_snippet peft_snippet",
    "sparsity": "prune_ratios pruned",
    "stability": "Stability stability",
    "verdict": "stability_record verdict",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eavss' has no attribute {name!r}")
    return getattr(import_module(f"eavss.{_HOMES[name]}"), name)


class _Package(ModuleType):
    """Keeps `eavss.stability` and `eavss.verdict` functions when the modules of these names are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
