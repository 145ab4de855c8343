"""Load a base model whole, and an adapter onto it."""

import contextlib
import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    TrainingArguments,
)
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from eavss.blocks import find_blocks
from train.model.completeness import require_complete
from train.model.source import one_line, reading, source_options
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError, RecipeError
from train.runtime.hardware import choose_dtype

# Keys of a config that describe the file it was read from, not the model.
_FILE_KEYS = ("_name_or_path", "transformers_version", "architectures", "dtype")


def load_model(base: BaseModel, training: TrainingArguments) -> PreTrainedModel:
    """Load the causal LM, whole on this rank's device, with its dropout off.

    Raises:
        ModelError: there is no such model, or it cannot be loaded as a causal LM from safetensors.
    """
    with _never_partitioned(training):
        model = read_model(base)
    return model.to(training.device)  # type: ignore[arg-type] # (a decorator hides the signature)


def read_model(base: BaseModel) -> PreTrainedModel:
    """Load the causal LM on the CPU, for uses where no training follows.

    Raises:
        ModelError: see `load_model`; or the checkpoint lacks weights that the model needs.
    """
    with reading(base):
        config = AutoConfig.from_pretrained(base.name, **source_options(base))
        if getattr(config, "quantization_config", None) is not None:
            raise ValueError(
                "its weights are quantised, and references and an exact merge need them in bfloat16, float16 or float32"
            )
        for key, value in vars(config).items():
            if key.endswith(("dropout", "pdrop")) and isinstance(value, float):
                setattr(config, key, 0.0)  # the reference log-probabilities are computed without dropout
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base.name,
            config=config,
            dtype=choose_dtype(base.dtype),
            attn_implementation=base.attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **source_options(base),
        )
    model: PreTrainedModel
    model, report = loaded
    require_complete(base.name, model, report)
    return model


def own_dtype(base: BaseModel) -> torch.dtype:
    """Return the dtype that the model's config names, or float32 where it names none."""
    with reading(base):
        return AutoConfig.from_pretrained(base.name, **source_options(base)).dtype or torch.float32


def fingerprint(model: PreTrainedModel | PeftModel) -> bytes:
    """Hash the config and the sums of the weights.

    The hash does not depend on where the model lies on disk; another revision of it has another hash.
    """
    sums = [parameter.detach().sum(dtype=torch.float64).item() for parameter in model.parameters()]
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in _FILE_KEYS}
    return hashlib.sha256(json.dumps([config, sums], sort_keys=True, default=str).encode()).digest()


@contextlib.contextmanager
def _never_partitioned(training: TrainingArguments) -> Iterator[None]:
    # Under ZeRO-3 from_pretrained would partition the weights, and a forward pass outside the engine would fail. The
    # engine partitions a whole model just as well, later.
    config = training.hf_deepspeed_config if training.deepspeed else None
    if config is None:
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(config)


def causal_lm(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the model without PEFT's wrapper. Adapters inside it stay."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def choose_training_attention(model: PreTrainedModel, base: BaseModel, max_length: int) -> None:
    """Switch to eager attention on a CPU, unless the recipe names an implementation or texts are long.

    On a CPU the backward pass of SDPA takes about three times as long for the short texts of a training batch
    (docs/performance.md). Without gradients SDPA is as fast as eager attention, and for long texts it is faster.
    """
    if base.attn_implementation is None and model.device.type == "cpu" and max_length <= 512:
        model.set_attn_implementation("eager")


def checkpoint_activations(model: PeftModel, lowest: int, options: dict[str, Any] | None) -> None:
    """Recompute the activations of the blocks from `lowest` on in the backward pass, which ends there.

    Args:
        options: `activation_checkpointing_kwargs`, as TrainingArguments has them.

    Raises:
        RecipeError: the options ask for the reentrant variant.
    """
    options = {"use_reentrant": False} | (options or {})
    if options["use_reentrant"]:
        # It needs an input that requires a gradient, which would carry the backward pass down to the embeddings.
        raise RecipeError("activation_checkpointing_kwargs: use_reentrant should be false")
    base = causal_lm(model)
    base.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    base.disable_input_require_grads()
    for block in find_blocks(model).modules[:lowest]:
        vars(block)["gradient_checkpointing"] = False


def load_adapter(base: PreTrainedModel, adapter: str) -> PeftModel:
    """Put a saved adapter on `base`.

    Args:
        adapter: a PEFT folder or Hub id; only safetensors are read.

    Raises:
        ModelError: there is no such adapter, or it does not fit the model.
    """
    try:
        model = PeftModel.from_pretrained(base, adapter, use_safetensors=True).eval()
        saved = load_peft_weights(adapter, device="cpu", use_safetensors=True)
    except Exception as error:  # the libraries raise anything for an adapter that is broken or another model's
        raise ModelError(f"adapter: {adapter} cannot be loaded on this model: {one_line(error)}") from None
    expected = get_peft_model_state_dict(model).keys()
    if unused := saved.keys() - expected:
        raise ModelError(f"adapter: {adapter} does not fit this model, which has no {min(unused)}")
    if missing := expected - saved.keys():
        raise ModelError(f"adapter: {adapter} is not whole: it lacks {min(missing)}, which its config names")
    return model


def load_adapted(base: BaseModel, training: TrainingArguments, adapter: Path) -> PeftModel:
    """Load the base afresh and put the saved adapter on it, so that what is evaluated is what a user will load."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    model = load_model(base, training)
    with _never_partitioned(training):
        return load_adapter(model, str(adapter))
