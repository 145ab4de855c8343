"""Train with TRL's DPOTrainer, LoRA on all blocks, on the pairs of a finished run and for the same FLOPs.

    python scripts/compare_with_trl.py outputs/truthfulqa [--learning_rate 4e-4] [--json FILE]

TRL gets the run's pairs, loss weights, rank, batch and schedule, and as many steps as the run's FLOPs pay for: in each
step it reads every answer with a prompt of its own, through all blocks. References are precomputed. The script prints
the leading metric of the run's own set on the run's evaluation questions, before training, after the run and after TRL,
and the perplexity of WikiText-2 if the run measured it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from data.sets import leading_metric
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.recipe.settings import LoraSettings
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require
from train.runtime.files import write_json
from train.runtime.option_types import positive_number


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, metavar="FOLDER")
    parser.add_argument("--learning_rate", type=positive_number, help="the run's, unless another suits better")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the model's code, as the run did")
    parser.add_argument("--json", action=OutputFile)
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from eavss.blocks import find_blocks
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import ContrastPairs
from train.comparison.runs import Run, values_of
from train.comparison.trl_dpo import dpo_config, dpo_trainer
from train.evaluation.benchmarks import leading_values, load_benchmarks
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.retention import WIKITEXT, measure_retention
from train.evaluation.statistics import compare
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer
from train.plan import pair_costs
from train.recipe.trainer_arguments import with_values
from train.training import pairs_of_run


@dataclass(frozen=True)
class Budget:
    """What TRL may spend.

    Args:
        steps: optimiser steps.
        pairs: pairs in a step.
        flops: the counted FLOPs of the references and the steps.
    """

    steps: int
    pairs: int
    flops: float


@dataclass(frozen=True)
class Trained:
    """What TRL trained.

    Args:
        model: the base with the adapter, in evaluation mode.
        budget: what the training spent.
        seconds: how long it took.
    """

    model: PeftModel
    budget: Budget
    seconds: float


def budget_of(run: Run, model: PreTrainedModel, pairs: ContrastPairs, lora: LoraSettings) -> Budget:
    """Count the steps that the run's FLOPs pay for when each step reads each answer whole, through all blocks.

    Raises:
        RecipeError: they do not pay for a single one.
    """
    figures = run.results["train"]
    size = round(figures["pairs_per_second"] * figures["seconds"] / figures["steps"])
    costs = pair_costs(model, pairs, [], Packer.of(model, False), lora)
    # TRL computes logits for the prompt's tokens too.
    step = size * costs.forward.training(
        range(len(find_blocks(model).modules)),
        costs.tokens,
        predicted=costs.tokens,
        lora_parameters=costs.priced,
        cached=False,
    )
    references = costs.forward.reading(costs.tokens * len(pairs), costs.tokens * len(pairs))
    steps = int((figures["flops"] - references) / step)
    if steps < 1:
        raise RecipeError(f"{run.folder}: its FLOPs do not pay for one step of TRL's")
    return Budget(steps, size, references + steps * step)


def train_with_trl(
    run: Run,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ContrastPairs,
    args: EavssArguments,
    training: TrainingArguments,
) -> Trained:
    """Train an adapter on all blocks of the run's base with TRL.

    Raises:
        RecipeError: see `budget_of`.
    """
    model = load_whole(args.base_model, training)
    budget = budget_of(run, model, pairs, args.lora)
    start = time.perf_counter()
    trainer = dpo_trainer(
        model=model,
        tokenizer=tokenizer,
        rows=pairs.as_text(tokenizer),
        blocks=range(len(find_blocks(model).modules)),
        lora=args.lora,
        config=dpo_config(training, args.loss_weights, steps=budget.steps, pairs=budget.pairs),
    )
    trainer.train()
    return Trained(cast(PeftModel, trainer.model).eval(), budget, time.perf_counter() - start)


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Train with TRL, evaluate, print, and return the figures."""
    run = Run.read(options.run)
    run.require_trusted(options.trust_remote_code)
    with tempfile.TemporaryDirectory() as folder:
        args, training = parse(["--config", str(options.run / "recipe.yaml"), "--output_dir", folder])
        training = with_values(training, learning_rate=options.learning_rate or training.learning_rate)
        require(args.prefers, "decline_weight", args.decline_weight, "beside ce_weight or dpo_weight, which TRL trains")
        set_seed(training.seed)
        tokenizer = load_tokenizer(args.base_model)
        encoder = Encoder.of(tokenizer, args)
        pairs = pairs_of_run(run.training_examples(), encoder, args, run.results["train"]["pairs"], seed=training.seed)
        trained = train_with_trl(run, tokenizer, pairs, args, training)
    scorer = AnswerScorer(trained.model, encoder, args.eval_token_budget)
    figures = compare_on_own_set(run, scorer, trained, args, training)
    kept = run.results["retention"].get(WIKITEXT)
    if kept is not None:
        found = measure_retention(scorer, [WIKITEXT], args.datasets_root, int(kept["before"]["n"]))[WIKITEXT]
        moments = {"before": kept["before"], "run": kept["after"], "trl": found}
        figures["perplexity"] = {moment: values["perplexity"] for moment, values in moments.items()}
    say(table(figures))
    return figures


def compare_on_own_set(
    run: Run, scorer: AnswerScorer, trained: Trained, args: EavssArguments, training: TrainingArguments
) -> dict[str, Any]:
    """Measure TRL's adapter on the run's own set, and return it beside the base's and the run's figures."""
    settings = replace(args.evaluation, sets=(args.dataset,), question_hidden=False)
    benchmark = load_benchmarks(settings, training.seed)[0]
    metric = leading_metric(benchmark.name)
    ours = values_of(run.items(benchmark.name), metric)
    values = leading_values(scorer, benchmark, "after TRL")
    before, after, theirs = ([{metric: float(v)} for v in column] for column in (ours["before"], ours["after"], values))
    return {
        "dataset": args.dataset,
        "seed": training.seed,
        "metric": metric,
        "n": len(values),
        "before": float(ours["before"].mean()),
        "run": {"after": float(ours["after"].mean()), "flops": run.results["train"]["flops"]},
        "trl": {
            "after": sum(values) / len(values),
            "flops": trained.budget.flops,
            "steps": trained.budget.steps,
            "learning_rate": training.learning_rate,
            "seconds": trained.seconds,
            **compare(before, theirs, training.seed)[metric],
        },
        "run_above_trl": compare(theirs, after, training.seed)[metric],
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text for people."""
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
    """Parse the command line, run the comparison, and write the figures."""
    options = read_options(argv)
    figures = main(options)
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
