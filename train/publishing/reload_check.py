"""Compute the log-probabilities of fixed texts under a checkpoint, in a process that has loaded nothing else.

python -m train.publishing.reload_check FOLDER [--base BASE] [--revision main] [--trust_remote_code] [--dtype bfloat16]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from train.model.on_disk import ON_DISK, fill_adapter, runs_from_disk
from train.model.quantization import bitsandbytes_config, prepare_packed
from train.recipe.settings import BaseModel, Quantization
from train.runtime.errors import ModelError

_TEXTS = (
    "Question: Which planet is called the red planet?\nAnswer: Mars",
    "Question: How many sides does a hexagon have?\nAnswer: Six",
    "The water in a kettle boils when it is hot enough, and steam rises from its spout.",
    "def double(x):\n    return 2 * x",
)
# The results follow this word, because libraries print lines of their own.
_MARK = "log-probabilities:"


@torch.no_grad()
def fixed_logprobs(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[float]:
    """Return the log-probability of every token but the first of each text, in float32, in one list for all texts.

    Args:
        model: a model on the CPU, or with its weights on disk (`train.model.on_disk`).
    """
    model.eval()
    found: list[float] = []
    for text in _TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        # With a cache Mamba uses its convolution's weights without calling it, and on disk they are not there then.
        logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        found += logprobs.gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1).tolist()
    return found


def logprobs_in_fresh_process(folder: Path, dtype: str, base: BaseModel | None) -> list[float]:
    """Return `fixed_logprobs` of a checkpoint, computed on the CPU in a new process.

    Args:
        folder: a checkpoint with its tokenizer, or an adapter.
        dtype: the dtype to load and compute in.
        base: the adapter's base; None for a merged checkpoint.

    Raises:
        ModelError: the checkpoint cannot be loaded.
    """
    command = [sys.executable, "-m", "train.publishing.reload_check", str(folder), "--dtype", dtype]
    if base is not None:
        command += ["--base", base.name, "--revision", base.revision]
        command += ["--trust_remote_code"] if base.trust_remote_code else []
        command += ["--quantization", json.dumps(asdict(base.quantization))] if base.quantization else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith(_MARK)), None)
    if done.returncode or line is None:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ModelError(f"nothing was exported: a fresh process cannot load what was written: {last}")
    found: list[float] = json.loads(line.removeprefix(_MARK))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Load the checkpoint that the command line names, and print its log-probabilities."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--base")
    parser.add_argument("--revision", default="main")
    parser.add_argument("--trust_remote_code", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--quantization", type=lambda text: Quantization(**json.loads(text)), help="of the base")
    options = parser.parse_args(argv)
    folder = Path(options.folder)
    name, source = options.folder, {}
    if options.base:
        name, source = options.base, {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(name, **source)
    load = partial(AutoModelForCausalLM.from_pretrained, name, dtype=options.dtype, use_safetensors=True, **source)
    with tempfile.TemporaryDirectory(dir=folder.parent) as room:
        if options.quantization:
            packing = bitsandbytes_config(options.quantization, getattr(torch, options.dtype))
            model: Any = load(quantization_config=packing, device_map="cpu")
            prepare_packed(model)
            model = PeftModel.from_pretrained(model, folder, use_safetensors=True)
        else:
            model = load(device_map=ON_DISK, offload_folder=room)
            if options.base:
                model = _with_adapter(model, folder) or PeftModel.from_pretrained(load(), folder, use_safetensors=True)
            elif not runs_from_disk(model):
                model = load()
        print(_MARK, json.dumps(fixed_logprobs(model, tokenizer)))


def _with_adapter(base: PreTrainedModel, folder: Path) -> PeftModel | None:
    """Put an adapter on a base whose weights are on disk; return None where the base has to be whole."""
    del base.hf_device_map
    model = PeftModel.from_pretrained(base, folder, use_safetensors=True, low_cpu_mem_usage=True)
    return model if fill_adapter(model, folder) else None


if __name__ == "__main__":
    main()
