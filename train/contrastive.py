"""The main job: score the blocks, select some, put LoRA on them, train, evaluate, report.

    deepspeed train/contrastive.py --config recipes/truthfulqa.yaml --output_dir outputs/truthfulqa

Plain `python train/contrastive.py ...` works too, on one process.
"""

import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from eavss.blocks import find_blocks
from eavss.selectors import check_layers
from train.base.reading import read_base
from train.base.replay_texts import write_texts
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs
from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.evaluate import compare_runs, evaluate, write_items
from train.model.adapter_files import save_adapter
from train.model.loading import choose_training_attention, load_adapted, load_model, load_tokenizer
from train.model.lora import add_lora, lora_targets
from train.plan import make_plan, pairs_in_step
from train.publishing.publish import hub_repo, push_run
from train.publishing.report import comparison_table, flipped_questions, write_report
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.recipe.provenance import command_line, recipe_text
from train.runtime.command import exit_status
from train.runtime.distributed import from_main, is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_text
from train.runtime.hardware import choose_dtype, peak_memory_bytes
from train.selection.scoring import layers_record, score, training_examples, write_profile
from train.trainer import ContrastiveTrainer

_PACKAGES = ("eavss", "torch", "transformers", "peft", "trl", "datasets", "evaluate", "deepspeed")


def main(args: EavssArguments, training: TrainingArguments) -> dict[str, Any]:
    """Run the whole job and return what `results.json` holds."""
    output = Path(str(training.output_dir))
    checkpoint = _checkpoint(training)
    recipe = recipe_text(args, training)  # now: the trainer sets some of its arguments itself
    set_seed(training.seed)
    say(f"device {training.device}, dtype {choose_dtype(args.dtype)}, {training.world_size} rank(s)")

    repo = from_main(lambda: hub_repo(args, training))

    _banner("Model and data")
    tokenizer = load_tokenizer(args)
    encoder = Encoder(tokenizer, args.prompt_style, args.max_length)
    benchmarks = load_benchmarks(args, training.seed)
    pools = args.training_pools()
    model = load_model(args, training)
    chosen = check_layers(args.layers, len(find_blocks(model).modules)) if args.layers is not None else None
    lora_targets(model, args)  # a wrong name is told before anything is computed
    examples = training_examples(pools, model, tokenizer, args, training.seed)
    say(
        f"{args.dataset}: {len(examples)} training questions; evaluation on "
        + ", ".join(f"{benchmark.name} ({len(benchmark.questions)})" for benchmark in benchmarks)
    )

    if is_main_process():
        lines = (json.dumps(asdict(example), ensure_ascii=False) for example in examples)
        write_text(output / "training_examples.jsonl", "\n".join(lines) + "\n")
        write_text(output / "recipe.yaml", recipe)

    _banner("Score")
    profile = score(model, examples[: args.score_questions], encoder, args, training.seed)

    _banner("Select")
    layers = layers_record(profile, chosen, args, training.seed)
    say(f"selected blocks {layers['selected']} of {len(layers['layers'])} ({layers['selector']})")
    say(layers["stability"]["verdict"])
    if is_main_process():
        write_profile(output, layers, profile)

    _banner("Evaluate before training")
    before = evaluate(model, tokenizer, benchmarks, args, training.seed, "before")

    _banner("Train")
    pairs = make_pairs(
        examples[: args.train_questions], encoder, args.pairs_per_question, args.infonce_weight > 0, training.seed
    ).at_most(_pairs_in(training), training.seed)
    choose_training_attention(model, args)
    packer = Packer.of(model, args.pack_answers)
    plan = make_plan(model, layers["selected"], pairs, packer, args, training)
    plan.announce(args.prefix_cache_gb)
    start = time.perf_counter()
    texts = write_texts(model, tokenizer, training.seed) if args.replay_weight else []
    base = read_base(
        model, pairs.sequences(), packer, args.eval_token_budget, plan.cached_at, args.prefix_cache_gb * 1e9, texts
    )
    reading = {"pairs": len(pairs), "reading_seconds": time.perf_counter() - start}
    adapted = add_lora(model, layers["selected"], args)
    trainer = ContrastiveTrainer(adapted, layers["selected"], args, training, pairs, base, packer, tokenizer)
    train_figures = train(trainer, checkpoint)
    save_adapter(adapted, output / "adapter")
    del model, adapted, trainer, base
    training.distributed_state.wait_for_everyone()

    _banner("Evaluate after training")
    reloaded = load_adapted(args, training, output / "adapter")
    after = evaluate(reloaded, tokenizer, benchmarks, args, training.seed, "after")

    results = {
        "model": args.model_name_or_path,
        "dataset": args.dataset,
        "samples": args.datasets_root == "samples",
        "selected": layers["selected"],
        **compare_runs(before, after, training.seed),
        "train": train_figures | reading | plan.figures(train_figures["steps"]),
        "command": command_line(),
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
    }
    if is_main_process():
        write_items(output / "items", {"before": before, "after": after})
        write_json(output / "results.json", results)
        flipped = {name: flipped_questions(records, after.records[name]) for name, records in before.records.items()}
        write_report(output, results, layers, recipe, flipped)
    _banner("Results")
    say(f"selected blocks {layers['selected']}")
    say(comparison_table(results))
    say(f"written to {output}: results.json, report.html, layers.json, layers.png, pairs.safetensors, adapter/, items/")
    if repo is not None and is_main_process():
        push_run(output, repo, args)
    return results


def _banner(title: str) -> None:
    say(f"\n*** {title} ***")


def train(trainer: ContrastiveTrainer, checkpoint: str | None) -> dict[str, Any]:
    """Train the adapter, from `checkpoint` on if there is one, and return the `train` part of `results.json`."""
    training = trainer.args
    start = time.perf_counter()
    state = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - start
    trainer.save_state()
    return {
        "steps": state.global_step,
        "seconds": seconds,
        "pairs_per_second": state.global_step * pairs_in_step(training) / seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "loss": state.training_loss,
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
    }


def _pairs_in(training: TrainingArguments) -> int | None:
    """Pairs that fixed steps take, so that no more are read before the first; None where epochs set the steps."""
    return training.max_steps * pairs_in_step(training) if training.max_steps > 0 else None


def _checkpoint(training: TrainingArguments) -> str | None:
    wanted = training.resume_from_checkpoint
    if wanted is None or wanted.lower() == "false":
        return None
    if wanted.lower() == "true":
        folder = str(training.output_dir)
        wanted = get_last_checkpoint(folder) if Path(folder).is_dir() else None
        if wanted is None:
            raise RecipeError(f"resume_from_checkpoint: there is no checkpoint in {training.output_dir}")
    if not Path(wanted).is_dir():
        raise RecipeError(f"resume_from_checkpoint: no folder {wanted}")
    return wanted


def run(argv: Sequence[str] | None = None) -> int:
    """The job's exit status."""
    return exit_status(lambda: main(*parse(argv)))


if __name__ == "__main__":
    sys.exit(run())
