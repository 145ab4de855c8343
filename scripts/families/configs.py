"""Tiny random models of the families of causal language models that people fine-tune, for scripts/family_table.py.

All have four blocks and 64 hidden units. Windows are short, so that the questions exceed them, and weights are five
times as large as usual, so that a leak shows.
"""

from collections.abc import Mapping

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

BLOCKS, HIDDEN, VOCABULARY = 4, 64, 300
_SIZES: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
    "bos_token_id": 256,
    "eos_token_id": 256,
    "pad_token_id": 256,
}
_EXPERTS: dict[str, object] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
}
_DEEPSEEK = _EXPERTS | {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
}
_HEAD = {"head_dim": 16}
_WINDOW = {"sliding_window": 8}
_MAMBA2 = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_d_ssm": 128,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_HALF = ["linear_attention", "full_attention"] * 2

# The name of a family: its `model_type`, and what differs from the sizes above.
FAMILIES: dict[str, tuple[str, Mapping[str, object]]] = {
    "Llama": ("llama", {}),
    "Llama 4 text": (
        "llama4_text",
        _EXPERTS | _HEAD | {"intermediate_size_mlp": 96, "attention_chunk_size": 8, "interleave_moe_layer_step": 1},
    ),
    "Qwen 2": ("qwen2", {}),
    "Qwen 3": ("qwen3", _HEAD),
    "Qwen 2 MoE": ("qwen2_moe", _EXPERTS | {"shared_expert_intermediate_size": 96}),
    "Qwen 3 MoE": ("qwen3_moe", _EXPERTS | _HEAD),
    "Qwen 3 MoE, mixed": ("qwen3_moe", _EXPERTS | _HEAD | {"mlp_only_layers": [0, 2]}),
    "Qwen 3-Next": (
        "qwen3_next",
        _EXPERTS | _HEAD | _LINEAR | {"shared_expert_intermediate_size": 96, "layer_types": _HALF},
    ),
    "Qwen 3.5": ("qwen3_5_text", _HEAD | _LINEAR | {"layer_types": _HALF}),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Mistral, with a window": ("mistral", _WINDOW),
    "Ministral": ("ministral", _WINDOW | _HEAD | {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    "Mixtral": ("mixtral", _EXPERTS | {"sliding_window": None}),
    "Gemma": ("gemma", _HEAD),
    "Gemma 2": ("gemma2", _HEAD | _WINDOW),
    "Gemma 3": ("gemma3_text", _HEAD | _WINDOW | {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    "Gemma 3n": (
        "gemma3n_text",
        _HEAD
        | _WINDOW
        | {
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 0,
            "activation_sparsity_pattern": [0.0] * BLOCKS,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "Gemma 4": (
        "gemma4_text",
        _HEAD
        | _WINDOW
        | {
            "global_head_dim": 16,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": VOCABULARY,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "Phi": ("phi", {"num_key_value_heads": 4}),
    "Phi 3": ("phi3", {"sliding_window": None}),
    "Phi 3.5 MoE": ("phimoe", _EXPERTS | {"sliding_window": None}),
    "OLMo": ("olmo", {}),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3": ("olmo3", _WINDOW),
    "OLMoE": ("olmoe", _EXPERTS),
    "GPT-2": ("gpt2", {}),
    "GPT-Neo": (
        "gpt_neo",
        {"num_layers": BLOCKS, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 8},
    ),
    "GPT-NeoX": ("gpt_neox", {}),
    "GPT-J": ("gptj", {"n_embd": HIDDEN, "n_layer": BLOCKS, "n_head": 4, "rotary_dim": 8}),
    "GPT-BigCode": ("gpt_bigcode", {}),
    "GPT-OSS": ("gpt_oss", _EXPERTS | _HEAD | _WINDOW),
    "Falcon": ("falcon", {}),
    "Falcon, with ALiBi": ("falcon", {"alibi": True}),
    "Falcon-Mamba": ("falcon_mamba", {"state_size": 16}),
    "Falcon-H1": ("falcon_h1", _MAMBA2 | _HEAD),
    "Mamba": ("mamba", {"state_size": 16}),
    "Mamba 2": (
        "mamba2",
        {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 16, "expand": 2, "chunk_size": 16},
    ),
    "Bamba": ("bamba", _MAMBA2 | {"attn_layer_indices": [1, 3]}),
    "Jamba": ("jamba", _EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}),
    "Zamba 2": (
        "zamba2",
        {
            "mamba_d_state": 16,
            "mamba_ngroups": 1,
            "n_mamba_heads": 8,
            "chunk_size": 16,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "hybrid_layer_ids": [1, 3],
            "num_mem_blocks": 1,
            "num_key_value_heads": 4,
            "use_mem_rope": False,
        },
    ),
    "LFM 2": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    "RecurrentGemma": (
        "recurrent_gemma",
        _HEAD | {"lru_width": HIDDEN, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
    ),
    "RWKV": ("rwkv", {"attention_hidden_size": HIDDEN}),
    "Nemotron": ("nemotron", {}),
    "Nemotron-H": (
        "nemotron_h",
        {
            "hybrid_override_pattern": "M*M-",
            "layers_block_type": ["mamba", "attention", "mamba", "mlp"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "ssm_state_size": 16,
            "chunk_size": 16,
        }
        | _HEAD,
    ),
    "Granite": ("granite", {}),
    "Granite MoE": ("granitemoe", _EXPERTS),
    "Granite MoE hybrid": (
        "granitemoehybrid",
        _EXPERTS | _MAMBA2 | {"shared_intermediate_size": 96, "layer_types": ["mamba", "attention"] * 2},
    ),
    "SmolLM 3": ("smollm3", {}),
    "StarCoder 2": ("starcoder2", {"sliding_window": None}),
    "StableLM": ("stablelm", {}),
    "DeepSeek-V2": ("deepseek_v2", _DEEPSEEK),
    "DeepSeek-V3": ("deepseek_v3", _DEEPSEEK),
    "GLM 4": ("glm4", _HEAD),
    "GLM 4 MoE": ("glm4_moe", _DEEPSEEK | _HEAD | {"num_key_value_heads": 2}),
    "Command R": ("cohere", {}),
    "Command R7B": ("cohere2", _WINDOW | {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    "MPT": ("mpt", {"d_model": HIDDEN, "n_layers": BLOCKS, "n_heads": 4, "max_seq_len": 1024}),
    "BLOOM": ("bloom", {"n_layer": BLOCKS, "n_head": 4}),
    "OPT": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": HIDDEN}),
    "MiniMax": (
        "minimax",
        _EXPERTS | _HEAD | {"block_size": 16, "layer_types": _HALF, "sliding_window": None},
    ),
    "ERNIE 4.5": ("ernie4_5", _HEAD),
    "EXAONE 4": ("exaone4", _WINDOW | {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    "Hunyuan": ("hunyuan_v1_dense", _HEAD),
    "Seed-OSS": ("seed_oss", _HEAD),
}


def tiny(family: str) -> PreTrainedModel:
    """Return a random model of a family, the same at each call, in float32 and evaluation mode."""
    kind, own = FAMILIES[family]
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **_SIZES | dict(own)))
    return model.float().eval()
