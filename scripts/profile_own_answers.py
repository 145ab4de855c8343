"""Where does a model know that it does not know? Profile its blocks on its own answers, right against wrong.

    python scripts/profile_own_answers.py --model_name_or_path ORG/MODEL --dataset triviaqa
        [--calibration_questions 600] [--json FILE] [--plot layers.png]

The model answers training questions of the set greedily, and a judge says which answers are right. For each block it
prints EAVSS of right against wrong answers, and the cross-validated AUROC of a probe on the last token of the prompt
and on the answer, alone and together with the likelihoods of the answer, beside the AUROC of its log-probability. Takes
the keys of a recipe.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, check_is_file, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_whole


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--json", type=Path)
    own.add_argument("--plot", type=Path)
    options, recipe = own.parse_known_args(argv)
    for name in ("json", "plot"):
        check_is_file(f"--{name}", getattr(options, name))
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from eavss.reliability import auroc
from train.evaluation.answered import judge_answers
from train.evaluation.calibration import calibration_questions
from train.evaluation.free_answers import FreeAnswers, rule_of
from train.model.loading import load_model
from train.model.tokenizer import load_tokenizer
from train.publishing.plots import plot_own_answers
from train.selection.own_answers import BlockRecord, block_records, read_states

# A probe is cross-validated in five folds, each of which needs both kinds.
_FEWEST = 5


class Profile(TypedDict):
    """What `--json` writes: how many answers there were and were right, the likelihood's AUROC, and the blocks."""

    answers: int
    right: int
    summed_auroc: float | None
    blocks: list[BlockRecord]


def main(args: EavssArguments, training: TrainingArguments) -> Profile:
    """Profile the blocks, print them, and return the figures.

    Raises:
        RecipeError: the set is not asked freely, or too few answers are right or wrong.
    """
    set_seed(training.seed)
    tokenizer = load_tokenizer(args.base_model)
    examples = calibration_questions(args.source, args.dataset, args.calibration_questions, set())
    if not examples or rule_of(examples[0]) is None:
        raise RecipeError(f"dataset: {args.dataset} is not asked freely; nq, triviaqa and sciq are")
    model = load_model(args.base_model, training)
    free = FreeAnswers.of(model, tokenizer, args.evaluation, {})
    answers = free(examples, "asking")
    verdicts = [each.verdict for each in judge_answers(examples, answers)]
    said = [
        (example, text, confidence, verdict == "right")
        for example, (text, confidence), verdict in zip(examples, answers, verdicts, strict=True)
        if confidence is not None and verdict in ("right", "wrong")
    ]
    right, confidences = [is_right for *_, is_right in said], [confidence for _, _, confidence, _ in said]
    if min(sum(right), len(right) - sum(right)) < _FEWEST:
        raise RecipeError(f"calibration_questions: {sum(right)} of {len(right)} answers are right; a probe needs five")
    sequences = [free.encoder(example, [text])[0] for example, text, *_ in said]
    states = read_states(model, sequences, args.eval_token_budget)
    blocks = block_records(states, confidences, right, training.seed)
    summed = auroc([confidence.summed for confidence in confidences], right)
    profile: Profile = {"answers": len(right), "right": sum(right), "summed_auroc": summed, "blocks": blocks}
    say(table(profile))
    return profile


def table(profile: Profile) -> str:
    """Return the profile as text."""
    lines = [
        f"{profile['right']} of {profile['answers']} answers are right; AUROC of the log-probability "
        f"{profile['summed_auroc']:.3f}",
        "with likelihoods: the probe together with them, and the interval of the gain over the log-probability alone",
        f"{'block':>5} {'EAVSS':>7} {'HSAV':>7}   "
        + " ".join(f"{where + ': AUROC':<21} {'with likelihoods':<23}" for where in ("prompt", "answer")),
    ]
    for block in profile["blocks"]:
        probes = [
            _shown(block["prompt_auroc"], block["prompt_interval"]),
            _shown(block["prompt_combined"], block["prompt_gain"], signed="+"),
            _shown(block["answer_auroc"], block["answer_interval"]),
            _shown(block["answer_combined"], block["answer_gain"], signed="+"),
        ]
        lines.append(f"{block['layer']:>5} {block['eavss']:>7.4f} {block['hsav']:>7.4f}   {' '.join(probes)}")
    return "\n".join(lines)


def _shown(value: float, interval: Sequence[float], signed: str = "") -> str:
    low, high = interval
    return f"{value:.3f} [{low:{signed}.3f}, {high:{signed}.3f}]"


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, profile, and write the files."""
    options, recipe = read_options(argv)
    profile = main(*parse(recipe))
    if is_main_process() and options.json:
        write_json(options.json, profile)
    if is_main_process() and options.plot:
        picture = plot_own_answers(profile["blocks"], profile["summed_auroc"])
        write_whole(options.plot, lambda path: path.write_bytes(picture))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
