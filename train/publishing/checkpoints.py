"""What leaves the machine: an adapter folder, or a merged checkpoint; safetensors, checked in a fresh process."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from train.model.adapter_files import sort_lists
from train.model.loading import load_adapter, load_tokenizer, own_dtype, read_model
from train.publishing.reload_check import fixed_logprobs, logprobs_in_fresh_process
from train.recipe.arguments import EavssArguments
from train.runtime.errors import ModelError, RecipeError
from train.runtime.files import write_json

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
# By how much the log-probability of a token may differ: between two processes, and by merging in float32.
_SAME, _MERGED = 1e-4, 1e-3


@dataclass(frozen=True)
class Adapter:
    """A trained adapter on disk, and the base that it belongs on.

    Args:
        folder: a PEFT folder: a run's `adapter`, or a Trainer's checkpoint.
        base: where and how to load the base.
    """

    folder: Path
    base: EavssArguments

    def load(self) -> tuple[PeftModel, PreTrainedTokenizerBase]:
        """The adapter on its base, in float32 on the CPU, and the base's tokenizer."""
        return load_adapter(read_model(self.base), str(self.folder)), load_tokenizer(self.base)


def find_adapter(folder: Path, base: str | None, revision: str = "main", trust_remote_code: bool = False) -> Adapter:
    """The adapter in a run's output folder, or in `folder` itself.

    Args:
        base: a folder or Hub id; None for the one that the adapter names.
        revision, trust_remote_code: of the base, as in `from_pretrained`.

    Raises:
        ModelError: there is no adapter in safetensors.
    """
    for candidate in (folder, folder / "adapter"):
        if (candidate / _CONFIG).is_file() and (candidate / _WEIGHTS).is_file():
            name = base or str(PeftConfig.from_pretrained(str(candidate)).base_model_name_or_path)
            return Adapter(candidate, EavssArguments(name, revision, trust_remote_code, dtype="float32"))
    raise ModelError(f"no adapter in {folder}: it should hold {_CONFIG} and {_WEIGHTS}, itself or in adapter/")


def export_adapter(adapter: Adapter, target: Path, base_name: str) -> None:
    """Copy the adapter's two files to `target`, with `base_name` as the base it names, and check them.

    Raises:
        RecipeError: `target` holds something already.
        ModelError: the copy does not give what the adapter gives; it is then removed.
    """
    expected = fixed_logprobs(*adapter.load())
    with _written(target) as folder:
        shutil.copyfile(adapter.folder / _WEIGHTS, folder / _WEIGHTS)
        config: dict[str, Any] = json.loads((adapter.folder / _CONFIG).read_text(encoding="utf-8"))
        write_json(folder / _CONFIG, config | {"base_model_name_or_path": base_name})
        sort_lists(folder / _CONFIG)
        if (folder / _WEIGHTS).read_bytes() != (adapter.folder / _WEIGHTS).read_bytes():
            raise ModelError(f"nothing was exported: the copy of {adapter.folder / _WEIGHTS} differs from it")
        _compare(logprobs_in_fresh_process(folder, "float32", adapter.base), expected, _SAME, "the exported adapter")


def export_merged(adapter: Adapter, target: Path, dtype: str | None, max_shard_size: str) -> None:
    """Write base and adapter as one plain checkpoint with its tokenizer, and check it.

    Merged in float32, so that every weight is rounded once and those without an adapter not at all. It takes four bytes
    of memory for each parameter.

    Args:
        dtype: `float32`, `bfloat16` or `float16`; None for the base's own.
        max_shard_size: of a safetensors file, as in `save_pretrained`.

    Raises:
        RecipeError: `target` holds something already.
        ModelError: the merged model gives something else than the adapter on its base, or the written one something
            else than the merged one; it is then removed.
    """
    model, tokenizer = adapter.load()
    expected = fixed_logprobs(model, tokenizer)
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    _compare(fixed_logprobs(merged, tokenizer), expected, _MERGED, "the merged model")
    written_as: torch.dtype = getattr(torch, dtype) if dtype else own_dtype(adapter.base)
    for parameter in merged.parameters():  # not `merged.to`: it would round the rotary frequencies, as no loading does
        parameter.data = parameter.data.to(written_as)
    expected = fixed_logprobs(merged, tokenizer)
    with _written(target) as folder:
        merged.save_pretrained(folder, max_shard_size=max_shard_size)
        tokenizer.save_pretrained(folder)
        del model, merged
        name = str(written_as).removeprefix("torch.")
        _compare(logprobs_in_fresh_process(folder, name, None), expected, _SAME, "the exported checkpoint")


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """A folder to write to that becomes `target` if all goes well, and leaves nothing if not."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise RecipeError(f"output_dir: {target} exists already; name another folder, or remove it")
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


def _compare(found: list[float], expected: list[float], tolerance: float, what: str) -> None:
    if len(found) != len(expected):
        raise ModelError(f"nothing was exported: {what} splits the fixed texts into other tokens")
    furthest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not furthest <= tolerance:  # so that NaN fails too
        raise ModelError(
            f"nothing was exported: {what} gives log-probabilities that are off by {furthest:.2g} nats a token"
        )
