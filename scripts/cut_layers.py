"""Remove the blocks that a model can do without, and write what is left as a plain transformers checkpoint.

    python scripts/cut_layers.py --model_name_or_path ORG/MODEL --output_dir FOLDER [--by block_influence]
        [--share 0.25] [--remove 13 14 17] [--skip_evaluation] [--max_shard_size 5GB]

--by names the criterion: avss, avss_scale_free, block_influence, angular, perplexity, last or random (`eavss.pruning`).
--share is the share of the blocks to remove; --remove names them instead. The whole and the cut model are evaluated,
and the model card says what the cut cost. The checkpoint is checked in a fresh process. Takes the keys of a recipe,
such as --dataset, --datasets_root, --eval_limit, --retention and --retention_limit.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eavss.choices import CRITERIA, Criterion
from eavss.selectors import check_layers
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require
from train.runtime.option_types import file_size


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--by", choices=CRITERIA, default="block_influence")
    own.add_argument("--share", type=float, default=0.25)
    own.add_argument("--remove", type=int, nargs="+", metavar="BLOCK")
    own.add_argument("--skip_evaluation", action="store_true")
    own.add_argument("--max_shard_size", type=file_size, default="5GB")
    options, recipe = own.parse_known_args(argv)
    if not 0 < options.share < 1:
        raise RecipeError(f"--share: {options.share} should be above 0 and below 1; 0.25 is a quarter of the blocks")
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from eavss.batches import pad
from eavss.blocks import find_blocks
from eavss.pruning import blocks_to_remove, count_to_remove
from eavss.surgery import remove_blocks
from train.base.replay_texts import write_replay_texts
from train.base.training_examples import training_examples
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.evaluation.retained import Yardstick, kept_table
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer
from train.publishing.checkpoints import require_new
from train.publishing.cutting import CutRecord, count_parameters, export_cut, write_cut_card
from train.selection.scoring import score

# Of the texts that the model writes itself; removing greedily reads them once for each block and each step.
_TEXTS = 16


class Chooser:
    """Names the blocks to remove: scores are of training questions, other criteria read texts of the model's own.

    Args:
        model: the whole model.
        tokenizer: its tokenizer.
        args: which questions, and how many.
        seed: the seed of the questions' answers, the texts and random blocks.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: EavssArguments, seed: int
    ) -> None:
        pools, mined, count = args.source.training_pools(args.dataset), args.mined_answers, args.score_questions
        examples = training_examples(pools, model, tokenizer, count=count, mined_answers=mined, seed=seed)[:count]
        encoder = Encoder.of(tokenizer, args)
        asked = paired_batches(examples, encoder, args.score_answers, args.eval_token_budget, seed)
        self._model, self._seed = model, seed
        self._scores = score(model, asked).layer_scores()
        self._texts = pad(write_replay_texts(model, tokenizer, seed)[:_TEXTS])

    def __call__(self, by: Criterion, share: float) -> list[int]:
        """Return the indices of the blocks that a criterion removes."""
        count = count_to_remove(share, len(self._scores))
        return blocks_to_remove(by, count, self._scores, model=self._model, batches=[self._texts], seed=self._seed)


def main(args: EavssArguments, training: TrainingArguments, options: argparse.Namespace) -> CutRecord:
    """Choose the blocks, evaluate with and without them, and write the checkpoint.

    Raises:
        RecipeError: the output folder is not empty.
        EavssError: the blocks cannot be removed.
    """
    args.require_own_precision()
    target = Path(str(training.output_dir))
    require_new(target)
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(args.base_model), load_whole(args.base_model, training).eval()
    total, whole_parameters = len(find_blocks(model).modules), count_parameters(model)
    if options.remove:
        by, removed = "layers", check_layers(options.remove, total)
        require(len(removed) < total, "--remove", removed, f"some of the {total} blocks, not all")
    else:
        by, removed = options.by, Chooser(model, tokenizer, args, training.seed)(options.by, options.share)
    say(f"removing blocks {removed} of {total}, chosen by {by}")
    measure = None if options.skip_evaluation else Yardstick.of(model, tokenizer, args.evaluation, training.seed)
    remove_blocks(model, removed)
    cut: CutRecord = {
        "model": args.model_name_or_path,
        "by": by,
        "blocks": total,
        "removed": removed,
        "parameters": count_parameters(model),
        "whole_parameters": whole_parameters,
    }
    if measure is not None:
        cut["kept"] = measure(model, "cut")
        say(kept_table(cut["kept"], {"changed": "cut"}))
    export_cut(args.base_model, removed, target, options.max_shard_size)
    write_cut_card(target, cut)
    say(f"written to {target}, and checked in a fresh process")
    return cut


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, and cut."""
    options, recipe = read_options(argv)
    main(*parse(recipe), options)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
