"""Calibrate how sure a model is of its own answers, base models included, and write `confidence.json`. No training.

    python scripts/calibrate.py --model_name_or_path ORG/MODEL [--adapter DIR] --evaluate_on triviaqa
        --output_dir outputs/calibration [--json FILE]

Takes the keys of a recipe, such as --calibration_questions, --eval_limit, --prompt_style and --datasets_root. The
model answers training questions of each set in `evaluate_on`. A confidence is chosen, one of the likelihoods or a
linear probe of a block, with thresholds that keep 60, 80 and 90% of the right answers. Then the model answers the
evaluation questions, which shows what the thresholds keep there, and on sets that they were not chosen on. Where
--adapter is a run's, the questions that it was trained on calibrate nothing.
`eavss.asking.ask` uses the file.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from data.examples import Example
from data.judge import VERDICTS
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError, require
from train.runtime.files import check_writable, write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--adapter")
    own.add_argument("--json", action=OutputFile)
    options, recipe = own.parse_known_args(argv)
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from train.evaluation.answered import Judged, shares
from train.evaluation.benchmarks import asked_freely, load_benchmarks
from train.evaluation.calibration import (
    answer_evaluated,
    aurocs,
    calibrate_sets,
    carried,
    carried_table,
    write_confidence,
)
from train.evaluation.evaluate import free_answers
from train.evaluation.probing import probe_layers
from train.evaluation.records import Carried
from train.model.loading import load_adapter, load_model
from train.model.tokenizer import load_tokenizer
from train.publishing.run_folder import TRAINING_EXAMPLES, read_training_examples


class Figures(TypedDict):
    """What `--json` writes.

    Args:
        asked: by set, the shares of right, wrong, declined and empty answers, and what only a set has.
        aurocs: by set, the AUROC of each confidence on the calibration questions.
        confidence: what each threshold does on each set, {calibrated on: {set: {keep: ...}}}.
    """

    asked: dict[str, dict[str, float]]
    aurocs: dict[str, dict[str, float | None]]
    confidence: Carried


def main(args: EavssArguments, training: TrainingArguments, adapter: str | None) -> Figures:
    """Calibrate the model, write `confidence.json`, and print what the thresholds do.

    Raises:
        RecipeError: no set is asked freely, or no answer is right.
    """
    set_seed(training.seed)
    settings = replace(args.evaluation, question_hidden=False)
    require(settings.calibration_questions > 0, "calibration_questions", settings.calibration_questions, "1 or more")
    require(settings.prompt_style != "harness", "prompts", args.prompts, "own, as questions are asked")
    require(not settings.ask_to_decline, "ask_to_decline", True, "false, as thresholds are for the plain prompt")
    check_writable("output_dir", Path(str(training.output_dir)), folder=True)
    tokenizer = load_tokenizer(args.base_model)
    benchmarks = asked_freely(load_benchmarks(settings, training.seed))
    base = load_model(args.base_model, training)
    model = base if adapter is None else load_adapter(base, adapter)
    free = free_answers(model, tokenizer, settings)
    if not benchmarks or free is None:
        raise RecipeError("evaluate_on: none of these sets is asked freely; nq, triviaqa and sciq are")
    calibrations = calibrate_sets(free, benchmarks, settings, trained_on(adapter), probe_layers(model))
    if not calibrations:
        raise RecipeError("calibration_questions: no answer was right, so there is nothing to calibrate")
    write_confidence([Path(str(training.output_dir))], calibrations, args.dataset)
    answers = answer_evaluated(free, benchmarks, calibrations)
    found = carried(calibrations, answers)
    say(f"{asked_table(answers)}\n\n{aurocs(calibrations)}\n\n{carried_table(calibrations, found)}")
    say(f"written: {Path(str(training.output_dir)) / 'confidence.json'}")
    return {
        "asked": {name: shares(of_set) for name, of_set in answers.items()},
        "aurocs": {name: calibration.aurocs for name, calibration in calibrations.items()},
        "confidence": found,
    }


def trained_on(adapter: str | None) -> list[Example]:
    """Return the examples that an adapter was trained on, where it lies in the folder of a run.

    A model is surer of them than of others, so that thresholds chosen on them promise too much.
    """
    run = None if adapter is None else Path(adapter).resolve().parent
    if run is None or not (run / TRAINING_EXAMPLES).is_file():
        return []
    examples = read_training_examples(run)
    say(f"the {len(examples)} questions that {adapter} was trained on calibrate nothing")
    return examples


def asked_table(answers: dict[str, list[Judged]]) -> str:
    """Return the shares as text."""
    lines = [f"{'asked':<12} {'n':>5} " + " ".join(f"{verdict:>9}" for verdict in VERDICTS)]
    for name, of_set in answers.items():
        own = shares(of_set)
        lines.append(f"{name:<12} {len(of_set):>5} " + " ".join(f"{own[verdict]:>9.3f}" for verdict in VERDICTS))
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, calibrate, and write the figures."""
    options, recipe = read_options(argv)
    figures = main(*parse(recipe), options.adapter)
    if is_main_process() and options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
