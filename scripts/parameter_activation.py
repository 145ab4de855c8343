"""Which weights does a text need? Measure how active the parameters of a model's blocks are, and what follows from it.

    python scripts/parameter_activation.py --model_name_or_path ORG/MODEL --json activation.json
        [--parts activity similarity sentences ratios calibration] [--domains wikitext lambada sst2 sciq triviaqa]
        [--texts 64] [--judged_texts 32] [--text_pairs 6] [--pair_sets stsb sickr] [--sentence_pairs 128]
        [--sparsities 0.2 0.3] [--spreads 0.1] [--threshold scale_free]

The five parts are those of arXiv 2405.17799 (`eavss.activation`): the share of active weights in each block and matrix;
how alike two texts' patterns are, of one domain and of two; whether this follows human judgements on pairs of
sentences; magnitude pruning by ratios from the shares beside uniform ones (`eavss.sparsity`); and models pruned on one
domain, judged on all. A picture goes beside the file. What is in the file already is not measured again. Takes the
keys of a recipe, such as --datasets_root, --evaluation_split and --dtype.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from data.sentence_pairs import PAIR_SETS, SentencePair
from eavss.choices import THRESHOLDS, Threshold
from train.comparison.activation import DOMAINS, PARTS, Judged, PruneTrial, Study, prune_trials, read_study, trial_of
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import require
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--json", action=OutputFile, required=True)
    own.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    own.add_argument(
        "--domains", choices=DOMAINS, nargs="+", default=["wikitext", "lambada", "sst2", "sciq", "triviaqa"]
    )
    own.add_argument("--texts", type=int, default=64)
    own.add_argument("--judged_texts", type=int, default=32)
    own.add_argument("--text_pairs", type=int, default=6)
    own.add_argument("--pair_sets", choices=PAIR_SETS, nargs="+", default=list(PAIR_SETS))
    own.add_argument("--sentence_pairs", type=int, default=128)
    own.add_argument("--sparsities", type=float, nargs="+", default=[0.2, 0.3])
    own.add_argument("--spreads", type=float, nargs="+", default=[0.1])
    own.add_argument("--threshold", choices=THRESHOLDS, default="scale_free")
    options, recipe = own.parse_known_args(argv)
    options.domains = list(dict.fromkeys(options.domains))
    check_ranges(options)
    return options, recipe


def check_ranges(options: argparse.Namespace) -> None:
    """Check the options' ranges.

    Raises:
        RecipeError: one is out of range.
    """
    require(options.json.suffix != ".png", "--json", options.json, "another name: the picture beside it ends in .png")
    for name, least in (("texts", 1), ("judged_texts", 1), ("text_pairs", 1), ("sentence_pairs", 3)):
        value = getattr(options, name)
        require(value >= least, f"--{name}", value, f"{least} or more")
    require(options.text_pairs < options.texts, "--text_pairs", options.text_pairs, f"below --texts {options.texts}")
    for sparsity in options.sparsities:
        require(0 < sparsity < 1, "--sparsities", sparsity, "above 0 and below 1; 0.3 is three tenths of the weights")
        for spread in options.spreads:
            room = min(sparsity, 1 - sparsity)
            require(
                0 < spread <= room, "--spreads", spread, f"above 0 and at most {room:g} for a sparsity of {sparsity}"
            )


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments, set_seed

from eavss.activation import mean_activation
from eavss.blocks import find_blocks
from eavss.sparsity import prunable_layers, prune_ratios, pruned, wanda_scores
from train.batching.encoding import Encoder
from train.comparison.activation_measures import activity_of, compare_domains, compare_sentences
from train.comparison.activation_plots import has_curves, plot_study
from train.comparison.activation_tables import block_table, findings, matrix_table, pruned_table, shares_of
from train.comparison.domains import Domain, DomainSettings, draw_pairs, text_losses
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer

# What the figures depend on, of the recipe and of our own options.
_KEYS = (
    *("model_name_or_path", "model_revision", "dtype", "datasets_root", "evaluation_split", "prompt_style"),
    *("system_prompt", "max_length"),
)
_OPTIONS = ("domains", "texts", "judged_texts", "text_pairs", "sentence_pairs", "threshold")


def main(args: EavssArguments, training: TrainingArguments, options: argparse.Namespace) -> Study:
    """Measure what is not in the file yet.

    Raises:
        RecipeError: the file holds something else, or a set has too few texts.
        EavssError: the model has no decoder blocks that can be found.
    """
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(args.base_model), load_whole(args.base_model, training).eval()
    settings = {key: str(getattr(args, key)) for key in _KEYS} | {"seed": str(training.seed)}
    settings |= {key: str(getattr(options, key)) for key in _OPTIONS}
    study = read_study(options.json, settings, len(find_blocks(model).modules))
    encoder = Encoder.of(tokenizer, args)
    drawn = DomainSettings(args.source, options.texts, options.judged_texts, training.seed)
    domains = [drawn.load(name, encoder) for name in options.domains]
    pair_sets = options.pair_sets if "sentences" in options.parts else []
    pairs = {name: draw_pairs(name, args.datasets_root, options.sentence_pairs, training.seed) for name in pair_sets}
    trials = prune_trials(options.parts, options.domains, options.sparsities, options.spreads)
    surveyor = Surveyor(model, encoder, domains, study, options.json)
    surveyor.read_domains(trials, args.eval_token_budget, summarise=bool({"activity", "ratios"} & {*options.parts}))
    for trial in surveyor.missing(trials):
        surveyor.prune(trial, surveyor.ratios(trial, options.threshold, training.seed), None, args.eval_token_budget)
    if "similarity" in options.parts:
        surveyor.compare_texts(options.text_pairs)
    if "sentences" in options.parts:
        surveyor.compare_sentences(pairs, training.seed)
    return study


class Surveyor:
    """Adds the figures that a study lacks, and writes the file after each.

    Args:
        model: the whole model.
        encoder: poses the questions.
        domains: the texts.
        study: the figures so far.
        path: the file.
    """

    def __init__(
        self, model: PreTrainedModel, encoder: Encoder, domains: Sequence[Domain], study: Study, path: Path
    ) -> None:
        self._model, self._encoder, self._domains = model, encoder, domains
        self._study, self._path = study, path

    def missing(self, trials: Sequence[PruneTrial]) -> list[PruneTrial]:
        """Return the trials that the study lacks."""
        measured = {trial_of(figures) for figures in self._study["pruned"]}
        return [trial for trial in trials if trial not in measured]

    def read_domains(self, trials: Sequence[PruneTrial], token_budget: int, *, summarise: bool) -> None:
        """Run the trials that are calibrated on each domain, and, to `summarise`, measure how active it is.

        One domain's activations are held at a time.
        """
        known = {figures["domain"] for figures in self._study["activity"]}
        for domain in self._domains:
            own = [trial for trial in self.missing(trials) if trial.calibrated == domain.name]
            new = summarise and domain.name not in known
            if new or any(trial.score == "activation" for trial in own):
                mean = mean_activation(self._model, domain.measured)
                if new:
                    self._study["activity"].append(activity_of(self._model, domain, mean))
                    self._save(f"{domain.name}: activity measured on {len(domain.measured)} texts")
                self._prune_all([trial for trial in own if trial.score == "activation"], mean, token_budget)
                del mean
            by_wanda = [trial for trial in own if trial.score == "wanda"]
            if by_wanda:
                self._prune_all(by_wanda, wanda_scores(self._model, domain.measured), token_budget)

    def _prune_all(self, trials: Sequence[PruneTrial], scores: Mapping[str, Tensor], token_budget: int) -> None:
        for trial in trials:
            self.prune(trial, [trial.sparsity] * self._study["blocks"], scores, token_budget)

    def ratios(self, trial: PruneTrial, threshold: Threshold, seed: int) -> list[float]:
        """Return each block's prune ratio, by the shares of active weights over all domains (`prune_ratios`)."""
        shares = shares_of(self._study["activity"], threshold)
        if trial.shape == "shuffled":
            random.Random(seed).shuffle(shares)
        layers = prunable_layers(self._model)
        sizes = [sum(cast(Tensor, module.weight).numel() for module in own.values()) for own in layers]
        spread = -trial.spread if trial.shape == "reversed" else trial.spread
        return prune_ratios(shares, sizes, trial.sparsity, spread)

    def prune(
        self, trial: PruneTrial, ratios: list[float], scores: Mapping[str, Tensor] | None, token_budget: int
    ) -> None:
        """Run one trial on all domains."""
        judged: list[Judged] = []
        with pruned(self._model, ratios, scores):
            for domain in self._domains:
                losses, greedy = text_losses(self._model, self._encoder, domain, token_budget)
                judged.append({"domain": domain.name, "losses": losses, "greedy": greedy})
        self._study["pruned"].append(
            {
                "score": trial.score,
                "shape": trial.shape,
                "sparsity": trial.sparsity,
                "spread": trial.spread,
                "calibrated": trial.calibrated,
                "ratios": ratios,
                "judged": judged,
            }
        )
        self._save(f"pruned {trial}")

    def compare_texts(self, count: int) -> None:
        """Compare the patterns of `count` texts of each two domains, and of each domain."""
        known = {figures["one"] for figures in self._study["similarity"]}
        for number, domain in enumerate(self._domains):
            if domain.name not in known:
                others = self._domains[number:]  # the same texts are compared whichever of two comes first
                self._study["similarity"] += compare_domains(self._model, domain, others, count)
                self._save(f"{domain.name}: {count} patterns compared with those of {len(others)} domains")

    def compare_sentences(self, pairs: Mapping[str, Sequence[SentencePair]], seed: int) -> None:
        """Compare the patterns of the two sentences of each pair of each set."""
        known = {figures["set"] for figures in self._study["sentences"]}
        for name, own in pairs.items():
            if name not in known:
                found = compare_sentences(self._model, self._encoder.tokenizer, name, own, seed)
                self._study["sentences"].append(found)
                self._save(f"{name}: {len(own)} pairs of sentences compared")

    def _save(self, done: str) -> None:
        if is_main_process():
            write_json(self._path, self._study)
        say(done)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure, draw, and print the tables."""
    options, recipe = read_options(argv)
    args, training = parse(recipe)
    study = main(args, training, options)
    if is_main_process() and has_curves(study):
        plot_study(study, options.json.with_suffix(".png"))
    tables = [block_table(study), matrix_table(study), pruned_table(study["pruned"])]
    say("\n\n".join(filter(None, [*tables, "\n".join(findings(study, training.seed))])))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
