"""One run of one side of `benchmark_training.py`, alone in its process; writes FOLDER/result.json."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import torch
import transformers
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer

from data.sources import load_split
from eavss.batches import TokenSequence
from eavss.blocks import find_blocks
from scripts.benchmarks.measuring import Peak, Work, forward_rate, seconds
from train.base.reading import read_base
from train.batching import packing
from train.batching.encoding import Encoder
from train.batching.packing import PackedBatch, Packer
from train.batching.pairs import ContrastPairs, make_pairs
from train.model.loading import choose_training_attention, load_tokenizer
from train.model.lora import add_lora, lora_config
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.files import write_json
from train.runtime.hardware import choose_dtype, prepare_process
from train.trainer import ContrastiveTrainer

SIDES = ("ours", "trl_default", "trl_best")
WITHOUT = tuple(
    f"without_{feature}"
    for feature in ("prefix_cache", "packing", "answer_logits", "references_beforehand", "short_backward", "full_rows")
)
SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 30, "num_attention_heads": 4},
}
RANK, LEARNING_RATE = 8, 1e-4


def load(options: argparse.Namespace) -> PreTrainedModel:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.random_weights is None:
        return AutoModelForCausalLM.from_pretrained(
            options.model_name_or_path, dtype=choose_dtype(options.dtype), device_map=device
        )
    tokens = AutoConfig.from_pretrained(options.model_name_or_path).vocab_size
    config = LlamaConfig(vocab_size=tokens, num_key_value_heads=4)
    config.update(SHAPES[options.random_weights])
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=choose_dtype(options.dtype))


def arguments(options: argparse.Namespace) -> tuple[EavssArguments, Any]:
    words = {
        "model_name_or_path": options.model_name_or_path,
        "dtype": options.dtype,
        "output_dir": options.folder,
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch_size,
        "learning_rate": LEARNING_RATE,
        "lora_r": RANK,
        "logging_steps": 10,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return parse([word for key, value in words.items() for word in (f"--{key}", str(value))])


def choose_pairs(options: argparse.Namespace, args: EavssArguments) -> tuple[ContrastPairs, list[dict[str, str]], Any]:
    """The same pairs as ours and as TRL wants them: a question's pairs are different, as in the recipe."""
    tokenizer = load_tokenizer(args)
    examples = load_split("truthfulqa", options.datasets_root, 0.1).train
    encoder = Encoder(tokenizer, "plain", 512)
    pairs = ContrastPairs(list(make_pairs(examples, encoder, 4, with_positive=False, seed=0))[: options.pairs])
    return pairs, pairs.as_text(tokenizer), tokenizer


def ours(options: argparse.Namespace, model: PreTrainedModel, side: str) -> Work:
    args, training = arguments(options)
    pairs, _, tokenizer = choose_pairs(options, args)
    choose_training_attention(model, args)
    packer = Packer.of(model, side != "without_packing")
    cached = side not in ("without_prefix_cache", "without_short_backward")

    def work() -> None:
        with _without(side):
            base = read_base(model, pairs.sequences(), packer, 2048, options.layers[0] if cached else None, 1e12)
            adapted = add_lora(model, options.layers, args)
            if side == "without_short_backward":
                model.enable_input_require_grads()
            trainer_class = _ReferencesInEachStep if side == "without_references_beforehand" else ContrastiveTrainer
            trainer = trainer_class(adapted, options.layers, args, training, pairs, base, packer, tokenizer)
            trainer.train()

    return work


@contextlib.contextmanager
def _without(side: str) -> Iterator[None]:
    """Switch off what no key of a recipe does."""
    if side == "without_answer_logits":
        with patch("train.trainer.logits_at", _all_logits), patch("train.base.reading.logits_at", _all_logits):
            yield
    elif side == "without_full_rows":
        with patch.object(packing, "fill_rows", lambda lengths: [[index] for index in range(len(lengths))]):
            yield
    else:
        yield


def _all_logits(
    model: Any, _causal_lm: Any, inputs: dict[str, Any], rows: Tensor, columns: Tensor, _beside: None = None
) -> Tensor:
    logits: Tensor = model(**inputs).logits[rows, columns]
    return logits


class _ReferencesInEachStep(ContrastiveTrainer):
    """Runs the base beside the adapter in each step, as TRL does by default."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        base = self.accelerator.unwrap_model(model)
        sequences = list(dict.fromkeys(s for pair in inputs["pairs"] for s in pair.sequences))
        batch = self._packer([[s] for s in sequences])
        with torch.no_grad(), base.disable_adapter():
            self._base.references.update(self._reference(base, sequences, batch))
        return super().compute_loss(model, inputs, *rest, **more)

    def _reference(self, base: Any, sequences: list[TokenSequence], batch: PackedBatch) -> dict[TokenSequence, float]:
        from train.model.logits import logits_at, target_logprobs

        moved = batch.to(self.args.device)
        with self._entry(find_blocks(base), batch):
            logits = logits_at(base, base.get_base_model(), moved.inputs, moved.rows, moved.columns)
        return dict(zip(sequences, moved.answer_sums(target_logprobs(logits, moved.targets)[0]).tolist(), strict=True))


def trl(options: argparse.Namespace, model: PreTrainedModel, best: bool) -> Work:
    args, _ = arguments(options)
    _, text, tokenizer = choose_pairs(options, args)
    config = DPOConfig(
        output_dir=options.folder,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=LEARNING_RATE,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=model.dtype is torch.bfloat16,
        precompute_ref_log_probs=best,
    )
    if best:
        config.activation_checkpointing = config.gradient_checkpointing = False
    adapter = lora_config(model, options.layers if best else list(range(len(find_blocks(model).modules))), args)
    rows = datasets.Dataset.from_list(text)
    reference = DPOTrainer._precompute_ref_logps
    late: list[Work] = []

    def postpone(trainer: DPOTrainer, dataset: Any, *rest: Any) -> Any:
        late.append(lambda: setattr(trainer, "train_dataset", reference(trainer, dataset, *rest)))
        return dataset

    # The reference pass belongs to the measured time; tokenising, which comes before it, does not.
    with patch.object(DPOTrainer, "_precompute_ref_logps", postpone):
        trainer = DPOTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=adapter)

    def work() -> None:
        for each in late:
            each()
        trainer.train()

    return work


def main() -> None:
    """Prepare, run, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=(*SIDES, *WITHOUT))
    parser.add_argument("--folder", required=True)
    parser.add_argument("--count", action="store_true")
    for key in ("model_name_or_path", "datasets_root", "dtype", "random_weights"):
        parser.add_argument(f"--{key}")
    for key in ("pairs", "epochs", "batch_size"):
        parser.add_argument(f"--{key}", type=int)
    parser.add_argument("--layers", type=int, nargs="+")
    options = parser.parse_args()
    os.environ["EAVSS_CACHE"] = options.folder
    datasets.config.HF_DATASETS_CACHE = Path(options.folder)
    prepare_process()
    transformers.set_seed(0)
    model = load(options)
    rate = forward_rate(model)
    work = (
        trl(options, model, options.side == "trl_best") if "trl" in options.side else ours(options, model, options.side)
    )
    peak = Peak()
    if options.count:
        with FlopCounterMode(display=False) as counter:
            work()
        figures = {"flops": counter.get_total_flops()}
    else:
        elapsed = seconds(work)
        figures = {
            "seconds": elapsed,
            "pairs_per_second": options.pairs * options.epochs / elapsed,
            "peak_memory_bytes": peak.stop(),
            "forward_flops_per_second": rate,
        }
    write_json(Path(options.folder) / "result.json", figures)


if __name__ == "__main__":
    main()
