"""Heal a cut model: train what is left to say what the whole model says, and write a plain checkpoint.

    deepspeed train/heal.py --config recipes/heal.yaml --model_name_or_path ORG/MODEL --cut FOLDER --output_dir HEALED
        [--texts 2000] [--curve 0 100 200] [--skip_evaluation] [--max_shard_size 5GB]

FOLDER is what `scripts/cut_layers.py` wrote. LoRA on the blocks that stay learns the whole model's next-token
distributions on texts that it writes itself (--texts) and on training questions with true answers (`dataset`,
`train_questions`), and the residual stream where each run of removed blocks ends. The checkpoint is HEALED/model.
What the model keeps is measured in the end, and after each number of steps that --curve names.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from eavss.selectors import check_layers
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import from_main, on_main_process, say
from train.runtime.option_types import file_size, not_negative, positive


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the command's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--cut", type=Path, required=True)
    own.add_argument("--texts", type=positive, default=2000)
    own.add_argument("--curve", type=not_negative, nargs="+", default=[], metavar="STEP")
    own.add_argument("--skip_evaluation", action="store_true")
    own.add_argument("--max_shard_size", type=file_size, default="5GB")
    options, recipe = own.parse_known_args(argv)
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from peft import PeftModel
from transformers import TrainingArguments, set_seed

from eavss.blocks import find_blocks
from train.evaluation.retained import Yardstick, kept_table
from train.healing.curve import Curve
from train.healing.students import adapted_student, blocks_that_stay
from train.healing.texts import Lessons
from train.healing.trainer import HealingTrainer
from train.model.adapter_files import save_adapter
from train.model.loading import choose_training_attention, load_whole
from train.model.tokenizer import load_tokenizer
from train.publishing.checkpoints import require_new
from train.publishing.cutting import CutRecord, export_cut, read_cut, write_cut_card
from train.recipe.provenance import recipe_text
from train.resuming.finding import HEALED, find_checkpoint, is_finished, require_blocks
from train.runtime.output_lock import only_writer
from train.runtime.seeding import random_stream


def main(
    args: EavssArguments, training: TrainingArguments, options: argparse.Namespace, recipe: str, checkpoint: str | None
) -> CutRecord:
    """Heal the model, from a checkpoint of this `recipe` on if there is one, and return what its `cut.json` holds.

    Raises:
        RecipeError: there is no such cut, or the output folder holds a model already.
        ModelError: the checkpoint does not say what the trained model said.
    """
    args.require_own_precision()
    output = Path(str(training.output_dir))
    cut = read_cut(options.cut, args.model_name_or_path)
    from_main(lambda: require_new(output / "model"))
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(args.base_model), load_whole(args.base_model, training).eval()
    removed = check_layers(cut["removed"], len(find_blocks(model).modules))
    require_blocks(checkpoint, blocks_that_stay(model, removed))
    measure = None if options.skip_evaluation else Yardstick.of(model, tokenizer, args.evaluation, training.seed)
    lessons = Lessons.of(model, tokenizer, args, options.texts, training.seed)
    choose_training_attention(model, args.base_model, args.max_length)
    with random_stream(training.seed):
        student = adapted_student(model, removed, args.lora)
    trainer = HealingTrainer(
        student=student, training=training, texts=lessons.mixed(training.seed), tokenizer=tokenizer
    )
    trainer.add_callback(curve := Curve(student, measure, options.curve))
    steps = trainer.train_from(checkpoint, recipe, blocks_that_stay(model, removed)).global_step
    cut["healed"] = {
        "texts": len(lessons.written),
        "questions": len(lessons.answered),
        "steps": steps,
        "seconds": curve.seconds,
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "curve": curve.points,
    }
    save_adapter(cast(PeftModel, student.model), output / "adapter")
    training.distributed_state.wait_for_everyone()
    export = on_main_process(export_cut)
    export(args.base_model, removed, output / "model", options.max_shard_size, output / "adapter")
    training.distributed_state.wait_for_everyone()
    if measure is not None:
        healed = load_whole(replace(args.base_model, name=str(output / "model"), revision="main"), training).eval()
        cut["kept"] = measure(healed, "healed")
        say(kept_table(cut["kept"], {"changed": "healed"}))
    on_main_process(write_cut_card)(output / "model", cut)
    say(f"written to {output / 'model'}, and checked in a fresh process")
    return cut


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, and heal."""
    options, recipe = read_options(argv)
    args, training = parse(recipe)
    with only_writer(Path(str(training.output_dir))):
        text = f"{recipe_text(args, training)}texts: {options.texts}\n"
        checkpoint = from_main(lambda: find_checkpoint(training, text, args.trust_checkpoint, HEALED))
        if from_main(lambda: is_finished(checkpoint, training, HEALED)):
            say(f"{training.output_dir} holds the finished run of this recipe; nothing is changed")
        else:
            main(args, training, options, text, checkpoint)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
