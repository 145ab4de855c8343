"""Load a model whole, and an adapter back on it."""

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
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from eavss.blocks import find_blocks
from train.recipe.arguments import EavssArguments
from train.runtime.errors import ModelError, RecipeError
from train.runtime.hardware import choose_dtype

# What the libraries raise for a missing, broken or unfitting folder, beside OSError.
_UNLOADABLE = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError)
# What a config says of where and how it was saved.
_OF_THE_FILE = ("_name_or_path", "transformers_version", "architectures", "dtype")


def load_tokenizer(args: EavssArguments) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with the end-of-sequence as padding where it has none.

    Raises:
        ModelError: there is no such model, or it has no tokenizer.
    """
    with _loading(args):
        tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path, **_source(args))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(args: EavssArguments, training: TrainingArguments) -> PreTrainedModel:
    """The causal LM, whole on this rank's device, its dropout off.

    Raises:
        ModelError: there is no such model, or it cannot be loaded as a causal LM from safetensors.
    """
    with _never_partitioned(training):
        model = read_model(args)
    return model.to(training.device)  # type: ignore[arg-type] # (a decorator hides the signature)


def read_model(args: EavssArguments) -> PreTrainedModel:
    """`load_model` where no training is to follow: on the CPU."""
    with _loading(args):
        config = AutoConfig.from_pretrained(args.model_name_or_path, **_source(args))
        if getattr(config, "quantization_config", None) is not None:
            raise ValueError(
                "its weights are quantised, and references and an exact merge need them in bfloat16, float16 or float32"
            )
        for key, value in vars(config).items():
            if key.endswith(("dropout", "pdrop")) and isinstance(value, float):
                setattr(config, key, 0.0)  # the reference log-probabilities are computed without dropout
        return AutoModelForCausalLM.from_pretrained(
            args.model_name_or_path,
            config=config,
            dtype=choose_dtype(args.dtype),
            attn_implementation=args.attn_implementation,
            use_safetensors=True,
            **_source(args),
        )


def own_dtype(args: EavssArguments) -> torch.dtype:
    """The dtype that the model's config names; float32 where it names none."""
    with _loading(args):
        return AutoConfig.from_pretrained(args.model_name_or_path, **_source(args)).dtype or torch.float32


def _source(args: EavssArguments) -> dict[str, str | bool]:
    return {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}


def fingerprint(model: PreTrainedModel) -> bytes:
    """A hash of the config and the weights' sums: the same wherever the model lies, another for another revision."""
    sums = [parameter.detach().sum(dtype=torch.float64).item() for parameter in model.parameters()]
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in _OF_THE_FILE}
    return hashlib.sha256(json.dumps([config, sums], sort_keys=True, default=str).encode()).digest()


@contextlib.contextmanager
def _loading(args: EavssArguments) -> Iterator[None]:
    name = args.model_name_or_path
    looks_local = name.count("/") != 1 or name.startswith((".", "/", "~"))
    if looks_local and not Path(name).is_dir():
        raise ModelError(
            f"model_name_or_path: no folder {name}; give a folder or a Hub id (`make model` builds the embedded one)"
        )
    try:
        yield
    except _UNLOADABLE as error:
        raise ModelError(f"model_name_or_path: {name} cannot be loaded: {_first_line(error)}") from None


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
    """The model without PEFT's wrapper; the adapters inside it stay."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def choose_training_attention(model: PreTrainedModel, args: EavssArguments) -> None:
    """On a CPU, the eager implementation, unless the recipe names one or the texts are long.

    There SDPA's backward pass takes about three times as long for the short texts of a training batch
    (docs/performance.md); without gradients it is as fast, and for long texts faster.
    """
    if args.attn_implementation is None and model.device.type == "cpu" and args.max_length <= 512:
        model.set_attn_implementation("eager")


def checkpoint_activations(model: PeftModel, lowest: int, options: dict[str, Any] | None) -> None:
    """Recompute activations in the backward pass, of the blocks from `lowest` on; no gradient is needed below.

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
    """`base` with a saved adapter on it.

    Args:
        adapter: a PEFT folder or Hub id; only safetensors are read.

    Raises:
        ModelError: there is no such adapter, or it does not fit the model.
    """
    try:
        model = PeftModel.from_pretrained(base, adapter, use_safetensors=True).eval()
        saved = load_peft_weights(adapter, device="cpu", use_safetensors=True)
    except _UNLOADABLE as error:
        raise ModelError(f"adapter: {adapter} cannot be loaded on this model: {_first_line(error)}") from None
    unused = saved.keys() - get_peft_model_state_dict(model).keys()
    if unused:
        raise ModelError(f"adapter: {adapter} does not fit this model, which has no {min(unused)}")
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_adapted(args: EavssArguments, training: TrainingArguments, adapter: Path) -> PeftModel:
    """The base model, fresh, with the adapter that was saved: what a user of the adapter will get."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    base = load_model(args, training)
    with _never_partitioned(training):
        return load_adapter(base, str(adapter))
