"""Where does a model hallucinate, and how sure is that? No recipe and no training needed.

    python scripts/score_layers.py --model_name_or_path ORG/MODEL [--dataset truthfulqa] [--datasets_root FOLDER]
        [--score_questions 256] [--controls] [--against layers.json ...] [--json FILE]

Prints every block's scores as a chart, the blocks that a run would select, how steady that choice is when whole
questions are resampled, and a verdict. `--controls` scores the model again: on other answers, on halves of the
questions, with noise in the input, in another prompt, on answers of equal length, and with each question's answers
under another question. `--against` compares the ranking with earlier ones, of another data set, seed or revision: what
this script or a run has written. Takes the keys of a recipe, and --config.
"""

import contextlib
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments, set_seed

from data.examples import Example
from eavss.scores import eavss_contrast
from eavss.snippets import axolotl_snippet, peft_snippet
from eavss.stability import tau
from train.batching.encoding import Encoder
from train.model.loading import load_model, load_tokenizer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, check_is_file, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json
from train.selection import controls
from train.selection.scoring import layers_record, score, training_examples

_BAR = 30


def main(
    args: EavssArguments, training: TrainingArguments, with_controls: bool, against: dict[str, Tensor]
) -> dict[str, Any]:
    """Score the model and print what was found; what `layers.json` holds, and the taus with other rankings."""
    set_seed(training.seed)
    tokenizer = load_tokenizer(args)
    encoder = Encoder(tokenizer, args.prompt_style, args.max_length)
    pools = args.training_pools()
    model = load_model(args, training)
    args.train_questions = args.score_questions  # nothing is trained, so no more answers are mined
    examples = training_examples(pools, model, tokenizer, args, training.seed)[: args.score_questions]
    record = layers_record(score(model, examples, encoder, args, training.seed), None, args, training.seed)
    say(chart(record))
    say(f"\nTo train these blocks with PEFT or TRL:\n\n{indented(peft_snippet(model, record['selected']))}")
    say(f"\nor with Axolotl:\n\n{indented(axolotl_snippet(model, record['selected']))}")
    if against:
        record["against"] = compare_rankings(record, against)
    if with_controls:
        record["controls"] = run_controls(model, examples, encoder, args, training.seed)
        say(control_table(record["controls"]))
    return record


def compare_rankings(record: dict[str, Any], against: dict[str, Tensor]) -> dict[str, float]:
    """Kendall's tau between this ranking and each of `against`, printed and returned.

    Raises:
        RecipeError: a ranking is of another number of blocks.
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


def scores_of(record: dict[str, Any]) -> Tensor:
    """EAVSS, contrast form, of the L blocks of a `layers.json`, (L,)."""
    return torch.tensor([layer["eavss"]["contrast"] for layer in record["layers"]])


def read_ranking(path: Path) -> Tensor:
    """`scores_of` a file.

    Raises:
        RecipeError: there is no such file, or it is no layers.json.
    """
    try:
        return scores_of(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise RecipeError(f"--against: no file {path}") from None
    except (ValueError, KeyError, TypeError):
        raise RecipeError(f"--against: {path} is no layers.json") from None


def indented(text: str) -> str:
    """Four spaces before each line, so that it can be told from what is said of it."""
    return textwrap.indent(text, "    ")


def chart(record: dict[str, Any]) -> str:
    """Each block's EAVSS as a bar with its bootstrap interval, marked where it is selected."""
    layers = record["layers"]
    highest = max(layer["eavss"]["contrast"] for layer in layers) or 1.0
    lines = [f"{'block':>5}   {'EAVSS':>7} {'95% interval':>18} {'picked':>6}  {'HSAV':>6} {'AVSS':>9}"]
    for layer in layers:
        score_, bootstrap = layer["eavss"]["contrast"], layer["bootstrap"]
        low, high = bootstrap["interval"]
        mark = "*" if layer["layer"] in record["selected"] else " "
        bar = "█" * max(0, round(_BAR * score_ / highest))
        lines.append(
            f"{layer['layer']:>5} {mark} {score_:7.3f} [{low:7.3f}, {high:7.3f}] {bootstrap['frequency']:6.0%}  "
            f"{layer['hsav']:6.3f} {layer['avss']['scale_free']:9.2e}  {bar}"
        )
    lines.append(f"* selected by {record['selector']}; picked: share of bootstraps in which EAVSS selects the block")
    return "\n".join([*lines, record["stability"]["verdict"]])


def run_controls(
    model: PreTrainedModel, examples: list[Example], encoder: Encoder, args: EavssArguments, seed: int
) -> dict[str, Any]:
    """Kendall's tau between the contrast rankings with and without each change, and the mismatched score's share."""

    def ranked(chosen: list[Example], answers_seed: int = seed, noise: bool = False) -> Any:
        with controls.noisy_embeddings(model, seed) if noise else contextlib.nullcontext():
            return eavss_contrast(score(model, chosen, encoder, args, answers_seed).differences.double())

    plain = ranked(examples)
    first, second = controls.halves(examples, seed)
    equal = controls.with_equal_lengths(examples, encoder)
    found = {
        "other_answers": tau(plain, ranked(examples, seed + 1)),
        "other_questions": tau(ranked(first), ranked(second)),
        "noise": tau(plain, ranked(examples, noise=True)),
        "paraphrase": tau(plain, ranked(paraphrase)) if (paraphrase := controls.paraphrased(examples)) else None,
        "equal_lengths": tau(plain, ranked(equal)) if len(equal) >= 2 else None,
    }
    mismatched = ranked(controls.under_other_questions(examples))
    return {
        "tau": found,
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


def control_table(found: dict[str, Any]) -> str:
    """The controls for people."""
    lines = ["\nKendall's tau of the ranking with"]
    lines += [
        f"  {_NAMES[name]:<40} {'-' if value is None else f'{value:.2f}'}" for name, value in found["tau"].items()
    ]
    mismatched = found["mismatched"]
    lines.append(
        f"Under another question's prompt the same answers score {mismatched['share']:.0%} as much, in a ranking of "
        f"tau {mismatched['tau']:.2f}: that part is the answers' wording, not hallucination."
    )
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse, run, write."""
    own = Parser(__doc__)
    own.add_argument("--controls", action="store_true")
    own.add_argument("--against", type=Path, nargs="+", default=[])
    own.add_argument("--json", type=Path)
    options, recipe = own.parse_known_args(argv)
    check_is_file("--json", options.json)
    against = {str(path): read_ranking(path) for path in options.against}
    record = main(*parse(recipe), options.controls, against)
    if is_main_process() and options.json:
        write_json(options.json, record)


def run(argv: Sequence[str] | None = None) -> int:
    """The command's exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
