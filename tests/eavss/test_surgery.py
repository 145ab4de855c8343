"""A model without some blocks is the model with them skipped: in memory, on disk, and while it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    SmolLM3Config,
)

from eavss.blocks import find_blocks
from eavss.errors import EavssError
from eavss.surgery import remove_blocks, skip_blocks
from tests.toys import count_hooks

BLOCKS = 6
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.1,
}
WINDOW = {"sliding_window": 4, "head_dim": 16}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES),
    "qwen2": lambda: Qwen2Config(**SIZES, use_sliding_window=True, max_window_layers=2, sliding_window=4),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=4),
    "gemma2": lambda: Gemma2Config(**SIZES, **WINDOW),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, **WINDOW, layer_types=["sliding_attention", "full_attention"] * 3),
    "gpt2": lambda: GPT2Config(vocab_size=300, n_embd=32, n_layer=BLOCKS, n_head=2, initializer_range=0.1),
    "gpt_neox": lambda: GPTNeoXConfig(**{k: v for k, v in SIZES.items() if k != "num_key_value_heads"}),
    "smollm3": lambda: SmolLM3Config(**SIZES, no_rope_layer_interval=2),
    "qwen2_moe": lambda: Qwen2MoeConfig(
        **SIZES, **EXPERTS, num_experts=4, shared_expert_intermediate_size=16, mlp_only_layers=[0, 3]
    ),
    "gpt_oss": lambda: GptOssConfig(**SIZES, **WINDOW, num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v3": lambda: DeepseekV3Config(**SIZES, **EXPERTS, **LATENT, first_k_dense_replace=3, n_routed_experts=4),
}
CUTS = [[1, 2], [0, 4], [BLOCKS - 1]]
IDS = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def make(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager")
    return model.float().eval()


@torch.no_grad()
def logits(model: PreTrainedModel, ids: Tensor = IDS) -> Tensor:
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_removed_saved_and_loaded_it_is_the_model_with_blocks_skipped(
    family: str, cut: list[int], tmp_path: Path
) -> None:
    model = make(family)
    whole = logits(model)
    with skip_blocks(model, cut):
        skipped = logits(model)
    assert torch.equal(logits(model), whole)
    assert not torch.allclose(skipped, whole, atol=1e-3)
    remove_blocks(model, cut)
    torch.testing.assert_close(logits(model), skipped, atol=1e-6, rtol=0)
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).num_hidden_layers == BLOCKS - len(cut)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    torch.testing.assert_close(logits(loaded), skipped, atol=1e-6, rtol=0)
    assert len(find_blocks(loaded).modules) == BLOCKS - len(cut)
    assert count_hooks(model) == count_hooks(loaded) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_of_a_cut_model_is_right(family: str) -> None:
    model = make(family)
    remove_blocks(model, [0, 3])
    settings = {"do_sample": False, "max_new_tokens": 10, "min_new_tokens": 10, "pad_token_id": 0}
    written = model.generate(IDS, attention_mask=torch.ones_like(IDS), use_cache=True, **settings)
    for length in range(IDS.shape[1], written.shape[1]):
        step = logits(model, written[:, :length])[:, -1]
        step[:, 2] = -torch.inf  # min_new_tokens keeps the end away
        assert torch.equal(step.argmax(-1), written[:, length])


@pytest.mark.parametrize(
    ("layers", "message"),
    [([], "the list is empty"), ([6], "outside"), ([1, 1], "twice"), (list(range(BLOCKS)), "all 6 blocks")],
)
def test_a_cut_that_cannot_be_made_is_refused(layers: list[int], message: str) -> None:
    model = make("llama")
    with pytest.raises(EavssError, match=message):
        remove_blocks(model, layers)
    assert len(find_blocks(model).modules) == BLOCKS


def test_a_model_that_counts_its_blocks_is_refused() -> None:
    model = AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=300, n_embd=32, n_layer=4, n_head=2, scale_attn_by_inverse_layer_idx=True)
    )
    with pytest.raises(EavssError, match="by the block's number"):
        remove_blocks(model, [1])


def test_skipping_nothing_changes_nothing() -> None:
    model = make("llama")
    whole = logits(model)
    with skip_blocks(model, []):
        assert torch.equal(logits(model), whole)
    with pytest.raises(ZeroDivisionError), skip_blocks(model, [2]):
        1 / 0  # noqa: B018
    assert torch.equal(logits(model), whole)
