"""What would the same FLOPs have brought in TRL? DPOTrainer with LoRA on all blocks, on the pairs of a finished run.

    python scripts/compare_with_trl.py outputs/truthfulqa [--learning_rate 4e-4] [--json FILE]

Takes the run's pairs, loss weights, rank, batch and schedule, and as many steps as the run's FLOPs pay for: TRL reads
each answer with a prompt of its own, through all blocks, in each step. References are precomputed. Prints the leading
metric of the run's own set on the run's evaluation questions: before, after the run, after TRL; and WikiText-2's
perplexity, if the run measured it.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import datasets
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed
from trl import DPOConfig, DPOTrainer

from data.examples import Example
from eavss.blocks import find_blocks
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import ContrastPairs, make_pairs
from train.comparison.runs import Run, values_of
from train.evaluation.benchmarks import leading_metric, load_benchmarks
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.metrics import CONTRAST, LEADING
from train.evaluation.retention import WIKITEXT, measure_retention
from train.evaluation.statistics import compare
from train.model.loading import load_model, load_tokenizer
from train.model.lora import lora_config
from train.plan import pair_costs
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, check_is_file, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


@dataclass(frozen=True)
class Budget:
    """What TRL may spend.

    Args:
        steps: optimiser steps.
        pairs: in each of them.
        flops: of the references and the steps, counted.
    """

    steps: int
    pairs: int
    flops: float


def read_examples(path: Path) -> list[Example]:
    """The examples that a run wrote down.

    Raises:
        RecipeError: there is no such file, or it holds something else.
    """
    try:
        return [_example(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError):
        raise RecipeError(f"{path} does not hold a run's training examples") from None


def _example(row: dict[str, Any]) -> Example:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Example(**values)


def budget_of(
    run: Run, model: PreTrainedModel, pairs: ContrastPairs, args: EavssArguments, training: TrainingArguments
) -> Budget:
    """As many steps as the run's FLOPs pay for when each answer is read whole, through all blocks, in each step.

    Raises:
        RecipeError: they do not pay for a single one.
    """
    figures = run.results["train"]
    size = round(figures["pairs_per_second"] * figures["seconds"] / figures["steps"])
    costs = pair_costs(model, pairs, Packer.of(model, False), args)
    every = range(len(find_blocks(model).modules))
    # TRL computes logits for the prompt's tokens too.
    step = size * costs.forward.training(every, costs.tokens, costs.tokens, costs.adapter, cached=False)
    references = costs.forward.reading(costs.tokens * len(pairs), costs.tokens * len(pairs))
    steps = int((figures["flops"] - references) / step)
    if steps < 1:
        raise RecipeError(f"{run.folder}: its FLOPs do not pay for one step of TRL's")
    return Budget(steps, size, references + steps * step)


def train_with_trl(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ContrastPairs,
    args: EavssArguments,
    training: TrainingArguments,
    budget: Budget,
    folder: str,
) -> PeftModel:
    """The model with an adapter on all blocks, trained."""
    config = DPOConfig(
        output_dir=folder,
        max_steps=budget.steps,
        per_device_train_batch_size=budget.pairs,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=training.warmup_steps,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        beta=args.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[args.dpo_weight, args.ce_weight],
        precompute_ref_log_probs=True,
        save_strategy="no",
        report_to="none",
        use_cpu=training.use_cpu,
        bf16=training.bf16,
    )
    config.activation_checkpointing = config.gradient_checkpointing = False
    adapter = lora_config(model, list(range(len(find_blocks(model).modules))), args)
    rows = datasets.Dataset.from_list(pairs.as_text(tokenizer))
    trainer = DPOTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=adapter)
    trainer.train()
    return cast(PeftModel, trainer.model)


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Train with TRL, evaluate, print, and return the figures."""
    run = Run.read(options.run)
    with tempfile.TemporaryDirectory() as folder:
        args, training = parse(["--config", str(options.run / "recipe.yaml"), "--output_dir", folder])
        training.learning_rate = options.learning_rate or training.learning_rate
        set_seed(training.seed)
        model, tokenizer = load_model(args, training), load_tokenizer(args)
        encoder = Encoder(tokenizer, args.prompt_style, args.max_length)
        examples = read_examples(options.run / "training_examples.jsonl")[: args.train_questions]
        pairs = make_pairs(examples, encoder, args.pairs_per_question, False, training.seed)
        pairs = pairs.at_most(run.results["train"]["pairs"], training.seed)
        budget = budget_of(run, model, pairs, args, training)
        start = time.perf_counter()
        trained = train_with_trl(model, tokenizer, pairs, args, training, budget, folder)
        seconds = time.perf_counter() - start
    trained.eval()
    scorer = AnswerScorer(trained, encoder, args.eval_token_budget)
    benchmark = load_benchmarks(replace(args, evaluate_on=[args.dataset], question_hidden=False), training.seed)[0]
    metric = LEADING.get(benchmark.name, CONTRAST)
    ours = values_of(run.items(benchmark.name), metric)
    values = leading_metric(scorer, benchmark, "after TRL")
    before, after, theirs = ([{metric: float(v)} for v in column] for column in (ours["before"], ours["after"], values))
    figures: dict[str, Any] = {
        "dataset": args.dataset,
        "seed": training.seed,
        "metric": metric,
        "n": len(values),
        "before": float(ours["before"].mean()),
        "run": {"after": float(ours["after"].mean()), "flops": run.results["train"]["flops"]},
        "trl": {
            "after": sum(values) / len(values),
            "flops": budget.flops,
            "steps": budget.steps,
            "learning_rate": training.learning_rate,
            "seconds": seconds,
            **compare(before, theirs, training.seed)[metric],
        },
        "run_above_trl": compare(theirs, after, training.seed)[metric],
    }
    kept = run.results["retention"].get(WIKITEXT)
    if kept is not None:
        found = measure_retention(scorer, [WIKITEXT], args.datasets_root, int(kept["before"]["n"]))[WIKITEXT]
        moments = {"before": kept["before"], "run": kept["after"], "trl": found}
        figures["perplexity"] = {moment: values["perplexity"] for moment, values in moments.items()}
    say(table(figures))
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    ours, trl, above = figures["run"], figures["trl"], figures["run_above_trl"]
    low, high = above["interval"]
    kept = [f"{moment} {value:.2f}" for moment, value in figures.get("perplexity", {}).items()]
    return "\n".join(
        [
            f"{figures['dataset']}, seed {figures['seed']}, {figures['metric']} of {figures['n']} questions",
            f"before         {figures['before']:.3f}",
            f"after the run  {ours['after']:.3f}  {ours['flops'] / 1e12:.1f} TFLOPs",
            f"after TRL      {trl['after']:.3f}  {trl['flops'] / 1e12:.1f} TFLOPs, {trl['steps']} steps",
            f"the run above TRL: {above['difference']:+.3f} [{low:+.3f}, {high:+.3f}]",
            *([f"perplexity of {WIKITEXT}: {', '.join(kept)}"] if kept else []),
        ]
    )


def command(argv: Sequence[str] | None) -> None:
    """Parse, run, write."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, metavar="FOLDER")
    parser.add_argument("--learning_rate", type=float, help="the run's, unless another suits all blocks better")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    if options.learning_rate is not None and options.learning_rate <= 0:
        raise RecipeError("command line: --learning_rate should be above 0")
    check_is_file("--json", options.json)
    figures = main(options)
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """The command's exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
