"""How is a cut model healed best? Cut a model in three ways, heal each, and measure what it keeps on the way.

    python scripts/compare_healing.py --config recipes/heal.yaml --cut FOLDER --json healing.json
        [--methods lora last_blocks replaced_run] [--learning_rates 1e-3 1e-4 1e-4] [--texts 2000] [--curve 0 100 200]

- lora: the blocks go that FOLDER's cut.json names, and LoRA on all others learns the whole model's distributions and
  states, as in `train/heal.py`;
- last_blocks: as many of the last blocks go, and the head and the last three that stay learn its distributions
  (arXiv 2411.15558);
- replaced_run: as many of a run of neighbours go, the one across which texts turn least, and the block before them
  learns what the run did (arXiv 2403.19135).

All learn from the same texts, in the same order, for `max_steps` steps, each at its own rate. Nothing is written but
the figures. Takes the keys of a recipe.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, get_args

from eavss.selectors import check_layers
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.recipe.settings import LoraSettings
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json
from train.runtime.option_types import not_negative, positive, positive_number

Method = Literal["lora", "last_blocks", "replaced_run"]
METHODS: tuple[Method, ...] = get_args(Method)


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--cut", type=Path, required=True)
    own.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    own.add_argument("--learning_rates", type=positive_number, nargs="+", default=[1e-3, 1e-4, 1e-4])
    own.add_argument("--texts", type=positive, default=2000)
    own.add_argument("--curve", type=not_negative, nargs="+", default=[0, 100, 200], metavar="STEP")
    own.add_argument("--json", action=OutputFile, required=True)
    options, recipe = own.parse_known_args(argv)
    if len(options.methods) != len(options.learning_rates):
        raise RecipeError(f"--learning_rates: {len(options.learning_rates)} should be one for each method")
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import PreTrainedModel, TrainingArguments, set_seed

from eavss.batches import TokenSequence, pad
from eavss.blocks import find_blocks
from eavss.pruning import angular_distances
from train.evaluation.retained import Yardstick, shown
from train.healing.curve import Curve, Point
from train.healing.students import Student, adapted_student, last_blocks_student, replaced_run_student
from train.healing.texts import Lessons
from train.healing.trainer import HealingTrainer
from train.model.loading import choose_training_attention, load_whole
from train.model.tokenizer import load_tokenizer
from train.publishing.cutting import read_cut
from train.recipe.trainer_arguments import with_values

# Of the texts, to find the run across which they turn least.
_TEXTS = 16


class HealingFigures(TypedDict):
    """What one method kept.

    Args:
        method, removed: the method, and the blocks that it removed.
        trained_parameters: how many numbers it trained.
        learning_rate, seconds: of training.
        curve: what was kept after some steps.
    """

    method: Method
    removed: list[int]
    trained_parameters: int
    learning_rate: float
    seconds: float
    curve: list[Point]


def main(args: EavssArguments, training: TrainingArguments, options: argparse.Namespace) -> list[HealingFigures]:
    """Heal by each method, and write the figures after each."""
    args.require_own_precision()
    removed, found = read_cut(options.cut, args.model_name_or_path)["removed"], list[HealingFigures]()
    tokenizer, model = load_tokenizer(args.base_model), load_whole(args.base_model, training).eval()
    check_layers(removed, len(find_blocks(model).modules))
    measure = Yardstick.of(model, tokenizer, args.evaluation, training.seed)
    lessons = Lessons.of(model, tokenizer, args, options.texts, training.seed)
    for method, rate in zip(options.methods, options.learning_rates, strict=True):
        set_seed(training.seed)
        model = load_whole(args.base_model, training).eval()
        choose_training_attention(model, args.base_model, args.max_length)
        student = student_of(method, model, removed, args.lora, lessons.written[:_TEXTS])
        trainer = HealingTrainer(
            student=student,
            training=with_values(training, learning_rate=rate),
            texts=lessons.mixed(training.seed),
            tokenizer=tokenizer,
        )
        trainer.add_callback(curve := Curve(student, measure, options.curve))
        trainer.train()
        found.append(
            {
                "method": method,
                "removed": student.removed,
                "trained_parameters": student.trained_parameters(),
                "learning_rate": rate,
                "seconds": curve.seconds,
                "curve": curve.points,
            }
        )
        write_json(options.json, found)
        say(curve_table(found[-1:]))
    return found


def student_of(
    method: Method, model: PreTrainedModel, removed: list[int], lora: LoraSettings, texts: list[TokenSequence]
) -> Student:
    """Cut the model as a method does, as many blocks as `removed` has; `texts` find the run to replace."""
    match method:
        case "lora":
            return adapted_student(model, removed, lora)
        case "last_blocks":
            return last_blocks_student(model, len(removed))
    count = len(removed) + 1
    distances = angular_distances(model, [pad(texts)], count)
    start = distances.index(min(distances))
    return replaced_run_student(model, range(start, start + count))


def curve_table(found: Sequence[HealingFigures]) -> str:
    """Return the curves as a table in Markdown."""
    if not found:
        return ""
    rows = found[0]["curve"][0]["kept"] if found[0]["curve"] else []
    names = [f"{row['set']} {row['metric']}" for row in rows]
    lines = [
        f"| method | steps | seconds | average kept | {' | '.join(names)} |",
        "|---" * (4 + len(names)) + "|",
        f"| (whole) | | | | {' | '.join(shown(row['whole']) for row in rows)} |",
    ]
    for figures in found:
        for point in figures["curve"]:
            values = " | ".join(shown(row["changed"]) for row in point["kept"])
            start = f"| {figures['method']} | {point['steps']} | {point['seconds']:.0f} | {point['average']:.0%} |"
            lines.append(f"{start} {values} |")
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, compare, and print the curves."""
    options, recipe = read_options(argv)
    say(curve_table(main(*parse(recipe), options)))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
