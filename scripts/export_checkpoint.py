"""Export a checkpoint, check it in a fresh process, and push it to the Hub if `--push_to_hub` names a repo.

    python scripts/export_checkpoint.py outputs/truthfulqa --output_dir export [--merge] [--dtype bfloat16]
        [--push_to_hub OWNER/NAME] [--private] [--revision main] [--commit_message TEXT] [--overwrite]

The folder is a run's output folder, a Trainer's checkpoint in it (also of ZeRO-2 and ZeRO-3), or any PEFT folder. The
script writes the adapter as a PEFT folder, or with --merge base and adapter as one plain transformers checkpoint. For a
finished run it also writes the model card, and takes the base as the run held it, in 4 or 8 bits too. Nothing else is
exported: no optimizer state, no training_args.bin.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from train.recipe.settings import BaseModel
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.option_types import file_size

_DTYPES = ("float32", "bfloat16", "float16")


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        RecipeError: --dtype is given without --merge.
    """
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--dtype", choices=_DTYPES, help="of a merged checkpoint; default: the base's own")
    parser.add_argument("--max_shard_size", type=file_size, default="5GB")
    parser.add_argument("--model_name_or_path", help="the base, if it is not the one that the adapter names")
    parser.add_argument("--model_revision", default="main")
    parser.add_argument("--trust_remote_code", action="store_true")
    parser.add_argument("--base_model", help="the base's Hub id, if it was loaded from a folder of this machine")
    parser.add_argument("--license", help="of what is exported, as the Hub names it: apache-2.0")
    parser.add_argument("--push_to_hub", metavar="OWNER/NAME")
    parser.add_argument("--private", action="store_true", default=None)
    parser.add_argument("--revision", default="main", help="the branch to push to")
    parser.add_argument("--commit_message", default="Upload an eavss checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="push to a repo that holds files already")
    options = parser.parse_args(argv)
    if options.dtype and not options.merge:
        raise RecipeError("--dtype: an adapter keeps its own; give --merge too")
    return options


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from train.model.source import named_base
from train.publishing.checkpoints import Adapter, find_adapter, require_new
from train.publishing.hub import HubRepo
from train.publishing.publish import Export
from train.publishing.run_folder import Run


def main(options: argparse.Namespace) -> None:
    """Export the checkpoint, check it, and push it."""
    require_new(options.output_dir)
    folder = find_adapter(options.folder)
    name = options.model_name_or_path or named_base(folder)
    run = Run.read(options.folder) if (options.folder / "results.json").is_file() else None
    base = BaseModel(name, options.model_revision, options.trust_remote_code)
    adapter = Adapter(folder, base if run is None else replace(base, quantization=run.base_model.quantization))
    repo = None
    if options.push_to_hub:
        repo = HubRepo(options.push_to_hub, options.private, options.revision, options.overwrite)
        repo.check()
    export = Export(
        merged=options.merge,
        dtype=options.dtype,
        max_shard_size=options.max_shard_size,
        base_model=options.base_model,
        license=options.license,
    )
    export.write(adapter, run, options.output_dir, options.push_to_hub or options.output_dir.resolve().name)
    if run is None:
        say("no model card: the folder is no finished run's")
    say(f"written to {options.output_dir}, and checked in a fresh process")
    if repo is not None:
        say(f"pushed: {repo.push(options.output_dir, options.commit_message)}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(read_options(argv)))


if __name__ == "__main__":
    sys.exit(run())
