"""Write a selection of blocks as a configuration for other training tools."""

from collections.abc import Sequence

from torch import nn

from eavss.blocks import find_blocks


def peft_snippet(model: nn.Module, layers: Sequence[int]) -> str:
    """Return Python code that makes a `LoraConfig`, for PEFT's `get_peft_model` and TRL's `peft_config`."""
    blocks = find_blocks(model)
    return f"""from peft import LoraConfig

peft_config = LoraConfig(
    task_type="CAUSAL_LM",
    target_modules={blocks.linear_names(layers)},
    layers_to_transform={list(layers)},
    layers_pattern="{blocks.pattern}",
)"""


def axolotl_snippet(model: nn.Module, layers: Sequence[int]) -> str:
    """Return YAML with the keys of an Axolotl config."""
    blocks = find_blocks(model)
    targets = "\n".join(f"  - {name}" for name in blocks.linear_names(layers))
    return f"""adapter: lora
lora_target_modules:
{targets}
peft_layers_to_transform: {list(layers)}
peft_layers_pattern: {blocks.pattern}"""
