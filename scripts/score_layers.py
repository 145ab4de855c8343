"""Where does a model hallucinate, and how sure is that? This needs no recipe and no training.

    python scripts/score_layers.py --model_name_or_path ORG/MODEL [--dataset truthfulqa] [--datasets_root FOLDER]
        [--score_questions 256] [--controls] [--against layers.json ...] [--json FILE]

Prints the scores of every block as a chart, the blocks that a run would select, how steady that selection is when whole
questions are resampled, and a verdict. `--controls` scores the model again: on other answers, on halves of the
questions, with noise in the input, in another prompt, on answers of equal length, and with each question's answers
under another question. `--against` compares the ranking with earlier ones, of another data set, seed or revision, from
files that this script or a run has written. The keys of a recipe and --config also work.
"""

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired

from data.examples import Example
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--controls", action="store_true")
    own.add_argument("--against", type=Path, nargs="+", default=[])
    own.add_argument("--json", action=OutputFile)
    options, recipe = own.parse_known_args(argv)
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments, set_seed

from eavss.profile import LayerProfile
from eavss.scores import eavss_contrast
from eavss.snippets import axolotl_snippet, peft_snippet
from eavss.stability import tau
from train.base.training_examples import training_examples
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.model.loading import load_model
from train.model.tokenizer import load_tokenizer
from train.selection import controls
from train.selection.controls import Controls
from train.selection.layers_file import LayersRecord, layers_record, read_layers
from train.selection.model_scores import model_scores
from train.selection.scoring import score, select

_BAR = 30


class ScoreRecord(LayersRecord):
    """What `--json` writes: the content of `layers.json`, and what `--against` and `--controls` add."""

    against: NotRequired[dict[str, float]]
    controls: NotRequired[Controls]


def main(
    args: EavssArguments, training: TrainingArguments, with_controls: bool, against: Mapping[str, Tensor]
) -> ScoreRecord:
    """Score the model, print the result and return it.

    Args:
        against: other rankings, (L,) each, by file name.

    Raises:
        RecipeError: see `compare_rankings`.
    """
    set_seed(training.seed)
    args = replace(args, layers=None)  # the scores choose, even where a recipe names blocks
    tokenizer = load_tokenizer(args.base_model)
    encoder = Encoder.of(tokenizer, args)
    say(f"prompt: {encoder.described}")
    pools = args.source.training_pools(args.dataset)
    model = load_model(args.base_model, training)
    count, mined, seed = args.score_questions, args.mined_answers, training.seed
    examples = training_examples(pools, model, tokenizer, count=count, mined_answers=mined, seed=seed)[:count]
    batches = paired_batches(examples, encoder, args.score_answers, args.eval_token_budget, seed)
    profile = score(model, batches)
    choice = select(profile, args.selection, seed, model_scores(model, batches, args.selector, seed))
    layers = layers_record(profile, choice, model=args.model_name_or_path, dataset=args.dataset, seed=seed)
    record: ScoreRecord = {**layers}
    say(chart(record))
    for tool, snippet in (
        ("To train these blocks with PEFT or TRL", peft_snippet),
        ("or with Axolotl", axolotl_snippet),
    ):
        say(f"\n{tool}:\n\n{textwrap.indent(snippet(model, record['selected']), '    ')}")
    if against:
        record["against"] = compare_rankings(record, against)
    if with_controls:
        record["controls"] = run_controls(model, examples, encoder, args, seed)
        say(control_table(record["controls"]))
    return record


def profile_examples(
    model: PreTrainedModel, examples: list[Example], encoder: Encoder, args: EavssArguments, seed: int
) -> LayerProfile:
    """Profile the model on examples. The seed draws which of their answers are scored."""
    return score(model, paired_batches(examples, encoder, args.score_answers, args.eval_token_budget, seed))


def compare_rankings(record: LayersRecord, against: Mapping[str, Tensor]) -> dict[str, float]:
    """Print and return Kendall's tau between this ranking and each of `against`.

    Raises:
        RecipeError: a ranking has another number of blocks.
    """
    ours = scores_of(record)
    for name, theirs in against.items():
        if len(theirs) != len(ours):
            raise RecipeError(f"--against: {name} ranks {len(theirs)} blocks, and this model has {len(ours)}")
    found = {name: tau(ours, theirs) for name, theirs in against.items()}
    say("\nKendall's tau with the ranking in")
    for name, value in found.items():
        say(f"  {name:<60} {value:.2f}")
    return found


def scores_of(record: LayersRecord) -> Tensor:
    """Return the EAVSS of the L blocks of a `layers.json`, in its contrast form, (L,)."""
    return torch.tensor([layer["eavss"]["contrast"] for layer in record["layers"]])


def read_ranking(path: Path) -> Tensor:
    """Return `scores_of` the record in a file.

    Raises:
        RecipeError: there is no such file, or it is not a layers.json.
    """
    if not path.exists():
        raise RecipeError(f"--against: no file {path}")
    try:
        return scores_of(read_layers(path))
    except ValueError as error:
        raise RecipeError(f"--against: {path} is no layers.json: {error}") from None


def chart(record: LayersRecord) -> str:
    """Return a chart with each block's EAVSS as a bar, its bootstrap interval, and a mark where it is selected."""
    highest = max(layer["eavss"]["contrast"] for layer in record["layers"]) or 1.0
    lines = [f"{'block':>5}   {'EAVSS':>7} {'95% interval':>18} {'picked':>6}  {'HSAV':>6} {'AVSS':>9}"]
    for layer in record["layers"]:
        eavss, (low, high) = layer["eavss"]["contrast"], layer["bootstrap"]["interval"]
        mark = "*" if layer["layer"] in record["selected"] else " "
        bar = "█" * max(0, round(_BAR * eavss / highest))
        lines.append(
            f"{layer['layer']:>5} {mark} {eavss:7.3f} [{low:7.3f}, {high:7.3f}] "
            f"{layer['bootstrap']['frequency']:6.0%}  {layer['hsav']:6.3f} {layer['avss']['scale_free']:9.2e}  {bar}"
        )
    own = f" (its split-half tau {record['selector_tau']:.2f})" if "selector_tau" in record else ""
    lines.append(f"* selected by {record['selector']}{own}; picked: share of bootstraps in which EAVSS picks the block")
    return "\n".join([*lines, record["stability"]["verdict"]])


def run_controls(
    model: PreTrainedModel, examples: list[Example], encoder: Encoder, args: EavssArguments, seed: int
) -> Controls:
    """Score the model under each control, and compare the rankings by EAVSS in its contrast form."""

    def scores(chosen: list[Example], answers_seed: int = seed) -> Tensor:
        differences = profile_examples(model, chosen, encoder, args, answers_seed).differences.double()
        return eavss_contrast(differences)

    plain = scores(examples)
    other_answers = scores(examples, seed + 1)
    first, second = (scores(half) for half in controls.halves(examples, seed))
    with controls.noisy_embeddings(model, seed):
        noisy = scores(examples)
    paraphrased = controls.paraphrased(examples)
    equal = controls.with_equal_lengths(examples, encoder)
    taus = {
        "other_answers": tau(plain, other_answers),
        "other_questions": tau(first, second),
        "noise": tau(plain, noisy),
        "paraphrase": tau(plain, scores(paraphrased)) if paraphrased else None,
        "equal_lengths": tau(plain, scores(equal)) if len(equal) >= 2 else None,
    }
    mismatched = scores(controls.under_other_questions(examples))
    return {
        "tau": taus,
        "equal_lengths_questions": len(equal),
        "mismatched": {"tau": tau(plain, mismatched), "share": float(mismatched.sum() / plain.sum())},
        "matched_minus_mismatched": (plain - mismatched).tolist(),
    }


_NAMES = {
    "other_answers": "other answers to the same questions",
    "other_questions": "two halves of the questions",
    "noise": f"noise of {controls.NOISE:.0%} in the input",
    "paraphrase": "another prompt",
    "equal_lengths": "answers of equal length",
}


def control_table(found: Controls) -> str:
    """Return the controls as a table for people."""
    shown = {name: "-" if value is None else f"{value:.2f}" for name, value in found["tau"].items()}
    lines = ["\nKendall's tau of the ranking with", *(f"  {_NAMES[name]:<40} {value}" for name, value in shown.items())]
    mismatched = found["mismatched"]
    lines.append(
        f"Under another question's prompt the same answers score {mismatched['share']:.0%} as much, in a ranking of "
        f"tau {mismatched['tau']:.2f}: that part is the answers' wording, not hallucination."
    )
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, score the model, and write the record."""
    options, recipe = read_options(argv)
    against = {str(path): read_ranking(path) for path in options.against}
    record = main(*parse(recipe), options.controls, against)
    if is_main_process() and options.json:
        write_json(options.json, record)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
