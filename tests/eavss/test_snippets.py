"""Configurations for other tools, read by these tools."""

import yaml
from peft import LoraConfig, get_peft_model

from eavss.snippets import axolotl_snippet, peft_snippet
from tests.toys import tiny_model


def test_the_code_for_peft_trains_the_named_blocks_and_no_other() -> None:
    model = tiny_model("gpt2")
    names: dict[str, LoraConfig] = {}
    exec(peft_snippet(model, [1, 3]), names)
    trained = [name for name, p in get_peft_model(model, names["peft_config"]).named_parameters() if p.requires_grad]
    assert {name.split(".h.")[1].split(".")[0] for name in trained} == {"1", "3"}
    assert {name.split(".")[-4] for name in trained} >= {"c_attn", "c_fc", "c_proj"}


def test_the_keys_for_axolotl() -> None:
    found = yaml.safe_load(axolotl_snippet(tiny_model("gpt2"), [1, 3]))
    assert found == {
        "adapter": "lora",
        "lora_target_modules": ["c_attn", "c_fc", "c_proj"],
        "peft_layers_to_transform": [1, 3],
        "peft_layers_pattern": "h",
    }
