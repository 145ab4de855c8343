"""Load a base model, whole or divided among the ranks, and an adapter onto it."""

import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import load_peft_weights
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    TrainingArguments,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from eavss.blocks import find_blocks
from train.model.attention import GROUPED, can_group
from train.model.completeness import require_complete
from train.model.quantization import bitsandbytes_config, prepare_packed, scales
from train.model.sharding import dividing, each_whole, gather_as_needed, zero3_settings
from train.model.source import one_line, reading, source_options
from train.recipe.settings import BaseModel
from train.runtime.distributed import from_main
from train.runtime.errors import ModelError, RecipeError
from train.runtime.hardware import choose_dtype, release_memory

# Keys of a config that describe the file it was read from, not the model.
_FILE_KEYS = ("_name_or_path", "transformers_version", "architectures", "dtype")


def load_model(base: BaseModel, training: TrainingArguments) -> PreTrainedModel:
    """Load the causal LM on this rank's device, with its dropout off; under ZeRO-3 this rank's share of it.

    A divided model runs whenever all ranks run it, equally often or in `map_sharded` (`train.model.sharding`).

    Raises:
        ModelError: there is no such model, it cannot be loaded as a causal LM from safetensors, or not be divided.
    """
    settings = zero3_settings(training)
    if settings is None:
        return load_whole(base, training)
    unset_hf_deepspeed_config()
    read_model(base, device_map="meta")  # since transformers checks less of a model that it divides
    with dividing(settings, choose_dtype(base.dtype)):
        try:
            model = read_model(base)
        except ModelError as error:  # in RWKV, transformers asks a divided weight for two dimensions
            hint = "ZeRO-3 reads it in shares, and recipes/deepspeed/zero2.json whole"
            raise ModelError(f"{error} ({hint})") from None
    for buffer in model.buffers():
        buffer.data = buffer.to(training.device)
    gather_as_needed(model)
    return model


def load_whole(base: BaseModel, training: TrainingArguments) -> PreTrainedModel:
    """Load the causal LM, whole on this rank's device under ZeRO-3 too; see `load_model`.

    It is for those who change a model's shape, or train it more than once.
    """
    # Otherwise from_pretrained would divide it, and `generate` would wait for ranks that write nothing.
    unset_hf_deepspeed_config()
    if base.quantization is not None:  # packed on the device, so that no more than a layer is there unpacked
        return read_model(base, device_map=str(training.device))
    return read_model(base).to(training.device)  # type: ignore[arg-type] # (a decorator hides the signature)


def read_model(
    base: BaseModel, device_map: str | dict[str, str] | None = None, offload_folder: Path | None = None
) -> PreTrainedModel:
    """Load the causal LM on the CPU, for uses where no training follows.

    Args:
        device_map, offload_folder: as in `from_pretrained`; `meta` checks the files and gives a model without weights.

    Raises:
        ModelError: see `load_model`; or the checkpoint lacks weights that the model needs.
        RecipeError: the weights should be packed, and bitsandbytes is not installed.
    """
    dtype = choose_dtype(base.dtype)
    packing = None if base.quantization is None else bitsandbytes_config(base.quantization, dtype)
    with reading(base):
        config = AutoConfig.from_pretrained(base.name, **source_options(base))
        if getattr(config, "quantization_config", None) is not None:
            raise ValueError(
                "its weights are quantised; name the model that they were made from, which load_in_4bit: true or "
                "load_in_8bit: true quantises when it is loaded"
            )
        for key, value in vars(config).items():
            if key.endswith(("dropout", "pdrop")) and isinstance(value, float):
                setattr(config, key, 0.0)  # the reference log-probabilities are computed without dropout
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base.name,
            config=config,
            dtype=dtype,
            attn_implementation=base.attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            device_map=device_map or ("cpu" if packing else None),  # packing goes to a GPU of itself
            offload_folder=offload_folder,
            quantization_config=packing,
            **source_options(base),
        )
    model: PreTrainedModel
    model, report = loaded
    require_complete(base.name, model, report)
    prepare_packed(model)
    return model


def own_dtype(base: BaseModel) -> torch.dtype:
    """Return the dtype that the model's config names, or float32 where it names none."""
    with reading(base):
        return AutoConfig.from_pretrained(base.name, **source_options(base)).dtype or torch.float32


def fingerprint(model: PreTrainedModel | PeftModel) -> bytes:
    """Hash the config, the bits of the weights, and how an adapter on them is applied.

    The hash does not depend on where the model lies on disk; another revision of it has another hash. Of a model that
    is divided among the ranks all must ask for it.
    """
    sums = [bit_sum(weight) for weight in chain(each_whole(model), scales(model))]
    # No weight says what LoRA's product is multiplied with, nor that it is switched off.
    adapters = [
        [vars(layer).get("scaling"), layer.active_adapters, layer.disable_adapters, layer.merged]
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    return _digest(model, [sums, adapters])


def base_fingerprint(model: PreTrainedModel | PeftModel) -> bytes:
    """Hash the config and the weights without those of an adapter. The model is not divided among the ranks."""
    of_adapter = {
        id(weight)
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name, weight in layer.named_parameters()
        if not name.startswith("base_layer.")
    }
    weights = (weight for weight in model.parameters() if id(weight) not in of_adapter)
    return _digest(model, [bit_sum(weight) for weight in chain(weights, scales(model))])


def _digest(model: PreTrainedModel | PeftModel, values: list[Any]) -> bytes:
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in _FILE_KEYS}
    return hashlib.sha256(json.dumps([config, values], sort_keys=True, default=str).encode()).digest()


def bit_sum(weight: Tensor) -> int:
    """Return the wrapped sum of a tensor's bits, read as integers: exact, and as fast as memory is read."""
    flat = weight.detach().contiguous().view(-1)
    if flat.numel() * flat.itemsize % 8 == 0:
        aligned = flat.storage_offset() * flat.itemsize % 8 == 0
        return int((flat if aligned else flat.clone()).view(torch.int64).sum())
    return int(flat.view(torch.uint8).sum())


def causal_lm(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the model without PEFT's wrapper. Adapters inside it stay."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def choose_training_attention(model: PreTrainedModel, base: BaseModel, max_length: int) -> None:
    """Switch to grouped or eager attention on a CPU, unless the recipe names an implementation or texts are long.

    On a CPU the backward pass of SDPA takes about three times as long for the short texts of a training batch
    (docs/performance.md). Without gradients SDPA is as fast as eager attention, and for long texts it is faster.
    """
    if base.attn_implementation is None and model.device.type == "cpu" and max_length <= 512:
        model.set_attn_implementation(GROUPED if from_main(lambda: can_group(model)) else "eager")


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
        adapter: a PEFT folder or Hub id; only safetensors are read. On a base without weights, it has none either.

    Raises:
        ModelError: there is no such adapter, or it does not fit the model.
    """
    empty = next(base.parameters()).is_meta
    try:
        model = PeftModel.from_pretrained(base, adapter, use_safetensors=True, low_cpu_mem_usage=empty).eval()
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
    release_memory()
    return load_adapter(load_model(base, training), str(adapter))
