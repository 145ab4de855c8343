"""Write an adapter folder as PEFT does, in safetensors only."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import deepspeed
from peft import PeftModel
from torch import Tensor

from train.runtime.distributed import is_main_process
from train.runtime.errors import ModelError
from train.runtime.files import write_json


def gather_trainable(model: PeftModel) -> dict[str, Tensor]:
    """Return every trainable parameter by name, whole and on the CPU.

    Under ZeRO-3 the parameters are gathered from all ranks, so each rank must call this.

    Raises:
        ModelError: a gathered parameter is empty.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    partitioned = [parameter for parameter in trainable.values() if hasattr(parameter, "ds_id")]
    with deepspeed.zero.GatheredParameters(partitioned) if partitioned else contextlib.nullcontext():
        state = {name: parameter.detach().cpu().clone() for name, parameter in trainable.items()}
    empty = [name for name, tensor in state.items() if not tensor.numel()]
    if empty or not state:
        raise ModelError(f"the adapter to be saved is empty ({len(empty)} of {len(state)} tensors)")
    return state


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` to `folder`, and replace an adapter there."""
    state = gather_trainable(model)
    if not is_main_process():
        return
    temporary, previous = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("part", "old"))
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(str(temporary), state_dict=state, safe_serialization=True)
    sort_lists(temporary / "adapter_config.json")
    if folder.exists():
        folder.rename(previous)
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def sort_lists(path: Path) -> None:
    """Sort what an adapter_config.json targets, because PEFT keeps sets, whose order differs from run to run."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "target_parameters"):
        if config.get(key):
            config[key] = sorted(config[key])
    write_json(path, config)
