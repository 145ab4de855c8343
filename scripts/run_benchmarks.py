"""Evaluate any model on the benchmarks, without training.

    python scripts/run_benchmarks.py --config recipes/truthfulqa.yaml [--adapter DIR] [--json FILE] [--items DIR]
    deepspeed --num_gpus 4 scripts/run_benchmarks.py --model_name_or_path ORG/MODEL --prompts harness

Takes the keys of a recipe, such as --evaluate_on, --eval_limit, --prompts and --datasets_root; those of training are
ignored. --adapter is a PEFT folder or Hub id on top of the model. --json writes the figures, --items a line a question.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.files import check_writable, write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--adapter")
    own.add_argument("--json", action=OutputFile)
    own.add_argument("--items", type=Path)
    options, recipe = own.parse_known_args(argv)
    if options.items is not None:
        check_writable("--items", options.items, folder=True)
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.compare import write_items
from train.evaluation.evaluate import Evaluation, evaluate, mean_metrics
from train.evaluation.free_answers import generation_settings
from train.evaluation.metrics import JUDGED
from train.model.loading import load_adapter, load_model
from train.model.tokenizer import load_tokenizer


def main(args: EavssArguments, training: TrainingArguments, adapter: str | None) -> Evaluation:
    """Evaluate the model, with the adapter if one is named, and print the figures."""
    set_seed(training.seed)
    tokenizer = load_tokenizer(args.base_model)
    benchmarks = load_benchmarks(args.evaluation, training.seed)
    base = load_model(args.base_model, training)
    model = base if adapter is None else load_adapter(base, adapter)
    evaluation = evaluate(model, tokenizer, benchmarks, args.evaluation, "evaluating")
    say(table(evaluation))
    return evaluation


def table(evaluation: Evaluation) -> str:
    """Return the figures as text: each metric, and the same with the question hidden."""
    lines = [f"{'set':<12} {'metric':<22} {'n':>6} {'score':>8} {'question hidden':>16}"]
    for name, records in evaluation.records.items():
        hidden = mean_metrics(records, "hidden") if "hidden" in records[0] else {}
        for metric, value in mean_metrics(records).items():
            control = f"{hidden[metric]:.3f}" if metric in hidden else ""
            lines.append(f"{name:<12} {metric:<22} {len(records):>6} {value:>8.3f} {control:>16}")
    for name, figures in evaluation.retention.items():
        for metric in [metric for metric in figures if metric != "n"]:
            lines.append(f"{name:<12} {metric:<22} {int(figures['n']):>6} {figures[metric]:>8.3f}")
    rated = any("verdict" in records[0] for records in evaluation.records.values())
    return "\n".join([*lines, *([JUDGED] if rated else [])])


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, evaluate, and write the figures."""
    options, recipe = read_options(argv)
    args, training = parse(recipe)
    evaluation = main(args, training, options.adapter)
    if is_main_process() and options.json:
        write_json(
            options.json, figures(evaluation) | {"generation": generation_settings(args.evaluation.prompt_style)}
        )
    if is_main_process() and options.items:
        write_items(options.items, {"run": evaluation})


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


def figures(evaluation: Evaluation) -> dict[str, object]:
    """Return {"benchmarks": {set: {"n", "split", "score", "hidden", "length_rule"}}, "retention": {name: {...}}}."""
    return {
        "benchmarks": {
            name: {
                "n": len(records),
                "split": evaluation.splits[name],
                "score": mean_metrics(records),
                **({"hidden": mean_metrics(records, "hidden")} if "hidden" in records[0] else {}),
                "length_rule": mean_metrics(records, "length_rule"),
            }
            for name, records in evaluation.records.items()
        },
        "retention": evaluation.retention,
    }


if __name__ == "__main__":
    sys.exit(run())
