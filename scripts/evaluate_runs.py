"""What else did finished runs change? Their adapters on more sets, questions or text than the runs looked at.

    python scripts/evaluate_runs.py outputs/truthfulqa-0 outputs/sciq-0 ... --output_dir outputs/transfer
        [--evaluate_on nq sciq ...] [--eval_limit 150] [--retention lambada] [--retention_limit 50] ...

The base is evaluated once, then with each run's adapter, on the same questions, which --seed draws. Keys of a recipe
that are not given are the first run's. Each run's figures go to a folder of its name in --output_dir, laid out like the
run's own, so that `scripts/summarise_runs.py outputs/transfer/*` sums them up; what is there already is left as it is.
Under `deepspeed` or `torchrun` the questions are shared among the ranks.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainingArguments, set_seed

from train.comparison.runs import Run, cost_table, costs_of, summarise_runs, transfer_table
from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.evaluate import compare_runs, evaluate, write_items
from train.model.loading import load_adapter, load_model, load_tokenizer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, exit_status
from train.runtime.distributed import from_main, is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json

# What a base model's answers depend on beside the questions.
_SHARED = ("model_name_or_path", "model_revision", "dtype", "prompt_style", "max_length")


def read_runs(folders: list[Path], words: list[str]) -> tuple[list[Run], EavssArguments, TrainingArguments]:
    """The runs, and the first one's recipe with the command line's words.

    Raises:
        RecipeError: a folder is not a finished run's, two have one name, or they do not share a base model and prompt.
    """
    if "--output_dir" not in words:
        raise RecipeError("command line: --output_dir should name a folder for the figures")
    runs = [Run.read(folder) for folder in folders]
    names = [run.folder.resolve().name for run in runs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RecipeError(f"command line: two runs are named {twice[0]}, and their figures go to a folder of that name")
    recipes = [parse(["--config", str(run.folder / "recipe.yaml"), *words]) for run in runs]
    args, training = recipes[0]
    if any(Path(str(training.output_dir)).resolve() == run.folder.resolve().parent for run in runs):
        raise RecipeError(f"--output_dir: {training.output_dir} holds the runs themselves; name another folder")
    for run, (own, _) in zip(runs, recipes, strict=True):
        other = next((key for key in _SHARED if getattr(own, key) != getattr(args, key)), None)
        if other:
            values = f"{getattr(own, other)!r}, that of {runs[0].folder} {getattr(args, other)!r}"
            raise RecipeError(f"{run.folder}: its {other} is {values}; they should be the same")
    return runs, args, training


def main(runs: list[Run], args: EavssArguments, training: TrainingArguments) -> list[Run]:
    """Evaluate the adapters that have no figures in `output_dir` yet, and return all runs with their new figures."""
    output = Path(str(training.output_dir))
    folders = [output / run.folder.resolve().name for run in runs]
    missing = from_main(lambda: [n for n, folder in enumerate(folders) if not (folder / "results.json").is_file()])
    if missing:
        set_seed(training.seed)
        tokenizer, model = load_tokenizer(args), load_model(args, training)
        benchmarks = load_benchmarks(args, training.seed)
        before = evaluate(model, tokenizer, benchmarks, args, training.seed, "base")
    for number in missing:
        run, folder = runs[number], folders[number]
        adapted = load_adapter(model, str(run.folder / "adapter"))
        after = evaluate(adapted, tokenizer, benchmarks, args, training.seed, folder.name)
        adapted.unload()
        if is_main_process():
            write_items(folder / "items", {"before": before, "after": after})
            shutil.copyfile(run.folder / "recipe.yaml", folder / "recipe.yaml")
            write_json(folder / "results.json", run.results | compare_runs(before, after, training.seed))
    training.distributed_state.wait_for_everyone()
    return [Run.read(folder) for folder in folders]


def command(argv: Sequence[str] | None) -> None:
    """Parse, evaluate, print."""
    parser = Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="FOLDER")
    options, words = parser.parse_known_args(argv)
    runs = main(*read_runs(options.runs, words))
    say("\n\n".join([transfer_table(summarise_runs(runs)), cost_table(costs_of(runs))]))


def run(argv: Sequence[str] | None = None) -> int:
    """The command's exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
