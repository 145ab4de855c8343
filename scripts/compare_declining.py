"""Train a rival on the own answers of a finished run with decline_weight, and ask the base, the run and the rival.

    python scripts/compare_declining.py outputs/honest --output_dir outputs/rtuning
        [--learning_rate 8e-4] [--evaluate_on triviaqa sciq] [--eval_limit 300] ...

The rival is R-Tuning (arXiv 2311.09677) with TRL's SFTTrainer and LoRA on all blocks: the true answer to the questions
that the base answers right, "I don't know" to the others, for as many steps as the run's counted FLOPs pay for. Its
adapter goes to --output_dir. Keys of a recipe that are not given are the run's. The table has what each of the three
says: right, wrong, declined and empty, the AUROC of its summed log-probabilities, and the share answered wrong where a
threshold on them keeps 60% of its own right answers.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments, set_seed

from data.judge import VERDICTS
from eavss.asking import WORDINGS
from train.batching.encoding import Encoder
from train.comparison.runs import Run
from train.comparison.trl_sft import refusal_aware_rows, steps_for, train_refusal_aware
from train.evaluation.answered import judge_answers, shares
from train.evaluation.benchmarks import Benchmark, asked_freely, load_benchmarks
from train.evaluation.free_answers import FreeAnswers, asking_encoder
from train.model.adapter_files import save_adapter
from train.model.loading import load_adapter, load_whole
from train.model.tokenizer import load_tokenizer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.recipe.trainer_arguments import with_values
from train.runtime.command import Parser, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require

_WORDING = WORDINGS[0]
# The figures of the table, and the widths of their columns.
_COLUMNS = (*((verdict, 10) for verdict in VERDICTS), ("auroc", 12), ("wrong_at_60", 12))


def train_rival(
    run: Run, model: PreTrainedModel, encoder: Encoder, args: EavssArguments, training: TrainingArguments
) -> PeftModel:
    """Train R-Tuning on the run's own answers, for its FLOPs, and save the adapter.

    Raises:
        RecipeError: the run has no own answers, or its FLOPs do not pay for a step.
    """
    examples = run.training_examples()
    rows = refusal_aware_rows(run.folder / "own_answers.jsonl", examples, encoder, _WORDING)
    batch, flops = training.per_device_train_batch_size, run.results["train"]["flops"]
    steps = steps_for(model, encoder.tokenizer, rows, args.lora, batch=batch, flops=flops)
    say(f"R-Tuning on {len(rows)} questions: {steps} steps of {batch}, which cost what the run cost")
    rival = train_refusal_aware(model, encoder.tokenizer, rows, args.lora, with_values(training, max_steps=steps))
    save_adapter(rival, Path(str(training.output_dir)) / "adapter")
    return rival


def line(name: str, benchmark: Benchmark, free: FreeAnswers) -> str:
    """Ask a model the questions of a set, and return what it says as a line of the table."""
    examples = [question.example for question in benchmark.questions]
    found = shares(judge_answers(examples, free(examples, f"{name}: {benchmark.name}")))
    values = "".join(f"{found[key]:>{width}.3f}" if key in found else f"{'-':>{width}}" for key, width in _COLUMNS)
    return f"{benchmark.name:<10} {name:<10} {len(examples):>5}{values}"


def main(run: Run, args: EavssArguments, training: TrainingArguments) -> None:
    """Train the rival, and print what each model says."""
    set_seed(training.seed)
    tokenizer = load_tokenizer(args.base_model)
    encoder = asking_encoder(Encoder(tokenizer, args.prompt_style, args.max_length))
    benchmarks = asked_freely(load_benchmarks(args.evaluation, training.seed))
    require(bool(benchmarks), "evaluate_on", args.evaluate_on, "nq, sciq or triviaqa, which are asked freely")
    model = load_whole(args.base_model, training)
    lines: list[str] = []

    def ask(name: str, asked: PreTrainedModel | PeftModel) -> None:
        lines.extend(line(name, each, FreeAnswers(asked, encoder, args.eval_token_budget)) for each in benchmarks)

    ask("base", model)
    adapted = load_adapter(model, str(run.folder / "adapter"))
    ask(run.folder.resolve().name, adapted)
    adapted.unload()
    ask("R-Tuning", train_rival(run, model, encoder, args, training))
    head = "".join(f"{each:>10}" for each in VERDICTS) + f"{'AUROC':>12}{'wrong at 60':>12}"
    say("\n".join([f"{'asked':<10} {'model':<10} {'n':>5}{head}", *sorted(lines, key=lambda each: each.split()[0])]))


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, train, and print the table.

    Raises:
        RecipeError: the folder is not a finished run's, or is the one to write to.
    """
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, metavar="FOLDER")
    options, words = parser.parse_known_args(argv)
    run = Run.read(options.run)
    if "--output_dir" not in words:
        raise RecipeError("command line: --output_dir should name a folder for the rival's adapter")
    args, training = parse(["--config", str(options.run / "recipe.yaml"), *words])
    if Path(str(training.output_dir)).resolve() == options.run.resolve():
        raise RecipeError(f"--output_dir: {training.output_dir} holds the run itself; name another folder")
    main(run, args, training)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
