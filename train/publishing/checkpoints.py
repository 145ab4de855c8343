"""Export a trained adapter as a PEFT folder or as a merged checkpoint, in safetensors, and check it."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from train.model.adapter_files import sort_lists
from train.model.loading import load_adapter, own_dtype, read_model
from train.model.on_disk import ON_DISK, distinct_weights, fill_adapter, is_on_disk, merge_as_read
from train.model.quantization import unpack_into
from train.model.tokenizer import copy_tokenizer, load_tokenizer
from train.publishing.reload_check import fixed_logprobs, logprobs_in_fresh_process
from train.recipe.settings import BaseModel
from train.runtime.distributed import say
from train.runtime.errors import ModelError, RecipeError
from train.runtime.files import check_writable, write_json

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
# How far the log-probability of a token may differ between two processes, and how far by merging in float32.
PROCESS_TOLERANCE, MERGE_TOLERANCE = 1e-4, 1e-3


@dataclass(frozen=True)
class Adapter:
    """A trained adapter on disk, and the base that it belongs to.

    Args:
        folder: a PEFT folder, as a run's `adapter` or a Trainer's checkpoint.
        base: the base model.
    """

    folder: Path
    base: BaseModel

    @contextmanager
    def loaded(self, room: Path) -> Iterator[PeftModel]:
        """Load the adapter on its base, in float32 on the CPU, and leave the base's weights in their files.

        A base that was packed is packed again. Where the weights cannot stay in their files (`fill_adapter`) the base
        is loaded whole, and a line says so.

        Args:
            room: a folder. Weights that transformers converts, as it does where it fuses a mixture's experts, are kept
                in it while the model is used.

        Raises:
            ModelError: see `read_model` and `load_adapter`.
        """
        exact = replace(self.base, dtype="float32", attn_implementation=None)
        if self.base.quantization is not None:
            yield load_adapter(read_model(exact), str(self.folder))
            return
        room.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".weights.", dir=room) as folder:
            empty = read_model(exact, device_map=ON_DISK, offload_folder=Path(folder))
            del empty.hf_device_map
            model = load_adapter(empty, str(self.folder))
            if fill_adapter(model, self.folder):
                yield model
                return
            del empty, model
        say("this base and adapter cannot be read weight by weight: the base is loaded whole, in 4 bytes a parameter")
        yield load_adapter(read_model(exact), str(self.folder))

    def unpacked(self, packed: PreTrainedModel) -> tuple[PeftModel, float]:
        """Load the adapter on its base in float32, with the weights that it was trained on.

        Args:
            packed: the base with packed weights, without the adapter.

        Returns:
            The model, and how far the base's weights are from its own (`train.model.quantization.unpack_into`).
        """
        plain = read_model(replace(self.base, dtype="float32", attn_implementation=None, quantization=None))
        lost = unpack_into(plain, packed)
        return load_adapter(plain, str(self.folder)), lost


def find_adapter(folder: Path) -> Path:
    """Return the PEFT folder: `folder` itself, or the `adapter` in a run's output folder.

    Raises:
        ModelError: there is no adapter in safetensors.
    """
    for candidate in (folder, folder / "adapter"):
        if (candidate / _CONFIG).is_file() and (candidate / _WEIGHTS).is_file():
            return candidate
    raise ModelError(f"no adapter in {folder}: it should hold {_CONFIG} and {_WEIGHTS}, itself or in adapter/")


def export_adapter(adapter: Adapter, target: Path, base_name: str) -> None:
    """Copy the adapter's two files to `target`, and check the copy.

    Args:
        base_name: the name of the base in the exported config.

    Raises:
        RecipeError: `target` is not empty.
        ModelError: the copy gives other log-probabilities than the adapter; nothing is left of it.
    """
    require_new(target)
    with adapter.loaded(target.parent) as model:
        expected = fixed_logprobs(model, load_tokenizer(adapter.base))
    with new_folder(target) as folder:
        shutil.copyfile(adapter.folder / _WEIGHTS, folder / _WEIGHTS)
        config: dict[str, Any] = json.loads((adapter.folder / _CONFIG).read_text(encoding="utf-8"))
        write_json(folder / _CONFIG, config | {"base_model_name_or_path": base_name})
        sort_lists(folder / _CONFIG)
        if (folder / _WEIGHTS).read_bytes() != (adapter.folder / _WEIGHTS).read_bytes():
            raise ModelError(f"nothing was exported: the copy of {adapter.folder / _WEIGHTS} differs from it")
        found = logprobs_in_fresh_process(folder, "float32", adapter.base)
        require_close(found, expected, PROCESS_TOLERANCE, "the exported adapter")


def export_merged(adapter: Adapter, target: Path, dtype: str | None, max_shard_size: str) -> float:
    """Write base and adapter as one plain checkpoint with the base's tokenizer, and check it.

    The weights are merged in float32, so that each is rounded once, and those without an adapter are not changed. They
    are read, merged and written one file of the checkpoint after the other, so memory holds one file and the largest
    weight. The exceptions take four bytes for each parameter: an adapter that is more than LoRA on linear layers, a
    model that `runs_from_disk` refuses, and weights that were packed in 4 or 8 bits, which are unpacked first.

    Args:
        dtype: `float32`, `bfloat16` or `float16`; None for the base's own.
        max_shard_size: the size of a safetensors file, as in `save_pretrained`.

    Returns:
        How far the base's weights are from its own, as a share; 0 unless they were packed.

    Raises:
        RecipeError: `target` is not empty.
        ModelError: the merged model gives other log-probabilities than the adapter on its base, or the written
            checkpoint others than the merged model; nothing is left of it.
    """
    require_new(target)
    tokenizer, lost = load_tokenizer(adapter.base), 0.0
    written_as: torch.dtype = getattr(torch, dtype) if dtype else own_dtype(adapter.base)
    with adapter.loaded(target.parent) as model, new_folder(target) as folder:
        expected = fixed_logprobs(model, tokenizer)
        if adapter.base.quantization is not None:
            model, lost = adapter.unpacked(model.unload())
        merged: PreTrainedModel = merge_as_read(model) if is_on_disk(model) else model.merge_and_unload(safe_merge=True)
        require_close(fixed_logprobs(merged, tokenizer), expected, MERGE_TOLERANCE, "the merged model")
        expected = save_checkpoint(
            merged, tokenizer, adapter.base, folder, dtype=written_as, max_shard_size=max_shard_size
        )
        del model, merged
        check_checkpoint(folder, expected, written_as, "the exported checkpoint")
    return lost


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    base: BaseModel,
    folder: Path,
    *,
    dtype: torch.dtype,
    max_shard_size: str,
) -> list[float]:
    """Cast a model in place, write it with the tokenizer files of `base`, and return its `fixed_logprobs`.

    Raises:
        ModelError: the base's weights stay on disk, and weights that belong together fall into two files.
    """
    for parameter in model.parameters():  # not `model.to`: it would round the rotary frequencies, as no loading does
        parameter.data = parameter.data.to(dtype)
    expected = fixed_logprobs(model, tokenizer)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Attempting to save a model with offloaded modules")  # as it is meant
        try:
            model.save_pretrained(folder, state_dict=distinct_weights(model), max_shard_size=max_shard_size)
        except RuntimeError as error:
            if "could not revert some weight conversions" not in str(error):
                raise
            raise ModelError(
                f"nothing was exported: with max_shard_size {max_shard_size} weights that transformers divides "
                "together fall into two files; another size may part others, one above the model's none"
            ) from None
    copy_tokenizer(base, folder)
    return expected


def check_checkpoint(folder: Path, expected: list[float], dtype: torch.dtype, what: str) -> None:
    """Load what `save_checkpoint` wrote in a fresh process, and compare.

    Raises:
        ModelError: it gives other log-probabilities.
    """
    found = logprobs_in_fresh_process(folder, str(dtype).removeprefix("torch."), None)
    require_close(found, expected, PROCESS_TOLERANCE, what)


def require_new(target: Path) -> None:
    """Refuse a folder that holds something already, or that cannot be written."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise RecipeError(f"output_dir: {target} exists already; name another folder, or remove it")
    check_writable("output_dir", target, folder=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to write to. It becomes `target` if the body succeeds, and is removed if not."""
    require_new(target)
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_close(found: list[float], expected: list[float], tolerance: float, what: str) -> None:
    if len(found) != len(expected):
        raise ModelError(f"nothing was exported: {what} splits the fixed texts into other tokens")
    furthest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not furthest <= tolerance:  # written so that NaN fails too
        raise ModelError(
            f"nothing was exported: {what} gives log-probabilities that are off by {furthest:.2g} nats a token"
        )
