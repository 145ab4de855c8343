"""A selection, as the tools that people already use want to be told."""

from collections.abc import Sequence

from torch import nn

from eavss.blocks import find_blocks


def peft_snippet(model: nn.Module, layers: Sequence[int]) -> str:
    """Python: a `LoraConfig` for PEFT's `get_peft_model` and TRL's `peft_config`."""
    blocks = find_blocks(model)
    return f"""from peft import LoraConfig

peft_config = LoraConfig(
    task_type="CAUSAL_LM",
    target_modules={blocks.linear_names()},
    layers_to_transform={list(layers)},
    layers_pattern="{blocks.pattern}",
)"""


def axolotl_snippet(model: nn.Module, layers: Sequence[int]) -> str:
    """YAML: the keys of an Axolotl config."""
    blocks = find_blocks(model)
    targets = "\n".join(f"  - {name}" for name in blocks.linear_names())
    return f"""adapter: lora
lora_target_modules:
{targets}
peft_layers_to_transform: {list(layers)}
peft_layers_pattern: {blocks.pattern}"""
