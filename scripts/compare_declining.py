"""Train rivals on the own answers of a finished run with decline_weight, and ask the base, the run and the rivals.

    python scripts/compare_declining.py outputs/honest --output_dir outputs/rtuning
        [--rivals rtuning truthrl] [--grpo_steps 100] [--grpo_learning_rate 1e-4]
        [--learning_rate 8e-4] [--evaluate_on triviaqa sciq] [--eval_limit 300] ...

Keys of a recipe that are not given are the run's. The rivals put LoRA on all blocks:

rtuning   R-Tuning (arXiv 2311.09677) with TRL's SFTTrainer: the true answer to the questions that the base answers
          right, "I don't know" to the others, for as many steps as the run's counted FLOPs pay for. Its adapter goes to
          --output_dir.
truthrl   TruthRL's reward (arXiv 2509.25760) with TRL's GRPOTrainer: 8 answers are sampled to each training question;
          a right one is paid 1, one that declines 0, any other -1. A model that never declines would learn nothing
          about it, so this begins from R-Tuning where both are named, and else from the base with --ask_to_decline
          true, which then is how all models are asked. It takes as many steps as the run's FLOPs pay for, sampling
          included, or --grpo_steps. Its adapter goes to truthrl/ in --output_dir.

The table has what each of them says: right, wrong, declined and empty, the AUROC of its summed log-probabilities, and
the share answered wrong where a threshold on them keeps 60% of its own right answers.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.judge import VERDICTS
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require
from train.runtime.files import check_writable

_RIVALS = ("rtuning", "truthrl")


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, metavar="FOLDER")
    parser.add_argument("--rivals", nargs="+", choices=_RIVALS, default=["rtuning"])
    parser.add_argument("--grpo_steps", type=int)
    parser.add_argument("--grpo_learning_rate", type=float, default=1e-4)
    options, words = parser.parse_known_args(argv)
    if "--output_dir" not in words:
        raise RecipeError("command line: --output_dir should name a folder for the rivals' adapters")
    require(options.grpo_steps is None or options.grpo_steps > 0, "--grpo_steps", options.grpo_steps, "1 or more")
    require(options.grpo_learning_rate > 0, "--grpo_learning_rate", options.grpo_learning_rate, "above 0")
    return options, words


def check() -> None:
    """Check the command line with the run's recipe, where the folder has one."""
    options, words = read_options()
    if (recipe := options.run / "recipe.yaml").is_file():
        check_recipe(["--config", str(recipe), *words])


if __name__ == "__main__":
    answer_early(check)  # before the imports below, which take seconds

from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments, set_seed

from eavss.choices import WORDINGS
from train.batching.encoding import Encoder
from train.comparison.runs import Run
from train.comparison.trl_grpo import SAMPLES, SampleCosts, asked_rows, train_ternary
from train.comparison.trl_sft import refusal_aware_rows, steps_for, train_refusal_aware
from train.evaluation.answered import judge_answers, shares
from train.evaluation.benchmarks import Benchmark, asked_freely, load_benchmarks
from train.evaluation.free_answers import FreeAnswers, asking_encoder
from train.model.adapter_files import save_adapter
from train.model.kept_figures import KeptFigures
from train.model.loading import load_adapter, load_whole
from train.model.tokenizer import load_tokenizer
from train.recipe.trainer_arguments import with_values

_WORDING = WORDINGS[0]
# The figures of the table, and the widths of their columns.
_COLUMNS = (*((verdict, 10) for verdict in VERDICTS), ("auroc", 12), ("wrong_at_60", 12))


@dataclass(frozen=True)
class Setting:
    """What the rivals of a run are trained with.

    Args:
        run: the finished run.
        encoder: as questions are asked.
        args, training: the run's recipe, with the keys of the command line.
    """

    run: Run
    encoder: Encoder
    args: EavssArguments
    training: TrainingArguments

    @property
    def own_answers(self) -> Path:
        """Where the base's answers to the training questions are."""
        return self.run.folder / "own_answers.jsonl"

    @property
    def flops(self) -> float:
        """What the run cost."""
        return self.run.results["train"]["flops"]

    @property
    def folder(self) -> Path:
        """Where R-Tuning's adapter folder goes."""
        return Path(str(self.training.output_dir))


def train_rtuning(setting: Setting, model: PreTrainedModel) -> PeftModel:
    """Train R-Tuning on the run's own answers, for its FLOPs, and save the adapter.

    Raises:
        RecipeError: the run has no own answers, or its FLOPs do not pay for a step.
    """
    encoder, training, lora = setting.encoder, setting.training, setting.args.lora
    rows = refusal_aware_rows(setting.own_answers, setting.run.training_examples(), encoder, _WORDING)
    batch = training.per_device_train_batch_size
    steps = steps_for(model, encoder.tokenizer, rows, lora, batch=batch, flops=setting.flops)
    say(f"R-Tuning on {len(rows)} questions: {steps} steps of {batch}, which cost what the run cost")
    rival = train_refusal_aware(model, encoder.tokenizer, rows, lora, with_values(training, max_steps=steps))
    save_adapter(rival, setting.folder / "adapter")
    return rival


def train_truthrl(setting: Setting, options: argparse.Namespace) -> PeftModel:
    """Train TruthRL's reward on the questions of the run's own answers, and save the adapter.

    Raises:
        RecipeError: the run has no own answers, or fewer than a step asks.
    """
    encoder, lora = setting.encoder, setting.args.lora
    rows = asked_rows(setting.own_answers, setting.run.training_examples(), encoder)
    # Loaded afresh, because TRL leaves its marks on the model that it has trained.
    base = load_whole(setting.args.base_model, setting.training)
    costs, batch = SampleCosts.of(base, lora), setting.training.per_device_train_batch_size
    equal = costs.questions(encoder.tokenizer, rows, _WORDING, setting.flops) // batch
    steps = options.grpo_steps or max(1, equal)
    tuned = "rtuning" in options.rivals
    begun = "from R-Tuning" if tuned else "from the base"
    say(
        f"TruthRL {begun} on {len(rows)} questions: {steps} steps of {batch} questions with {SAMPLES} samples each; "
        f"the run's FLOPs pay for {equal}"
    )
    model = load_adapter(base, str(setting.folder / "adapter")) if tuned else base
    training = with_values(setting.training, max_steps=steps, learning_rate=options.grpo_learning_rate)
    trained = train_ternary(model, encoder, rows, lora, training)
    cost = costs(trained.prompt_tokens, trained.answer_tokens)
    say(f"TruthRL took {cost / 1e12:.3g} TFLOPs, sampling included; the run took {setting.flops / 1e12:.3g}")
    save_adapter(trained.model, setting.folder / "truthrl" / "adapter")
    return trained.model


def line(name: str, benchmark: Benchmark, free: FreeAnswers) -> str:
    """Ask a model the questions of a set, and return what it says as a line of the table."""
    examples = [question.example for question in benchmark.questions]
    found = shares(judge_answers(examples, free(examples, f"{name}: {benchmark.name}")))
    values = "".join(f"{found[key]:>{width}.3f}" if key in found else f"{'-':>{width}}" for key, width in _COLUMNS)
    return f"{benchmark.name:<10} {name:<10} {len(examples):>5}{values}"


def main(run: Run, options: argparse.Namespace, args: EavssArguments, training: TrainingArguments) -> None:
    """Train the rivals, and print what each model says."""
    set_seed(training.seed)
    tokenizer = load_tokenizer(args.base_model)
    plain = Encoder.of(tokenizer, args)
    encoder = asking_encoder(plain, args.ask_to_decline)
    setting = Setting(run, encoder, args, training)
    benchmarks = asked_freely(load_benchmarks(args.evaluation, training.seed))
    require(bool(benchmarks), "evaluate_on", args.evaluate_on, "nq, sciq or triviaqa, which are asked freely")
    model = load_whole(args.base_model, training)
    lines: list[str] = []
    kept = KeptFigures(args.fresh)

    def ask(name: str, asked: PreTrainedModel | PeftModel) -> None:
        lines.extend(line(name, each, FreeAnswers(asked, encoder, args.eval_token_budget, kept)) for each in benchmarks)

    ask("base", model)
    adapted = load_adapter(model, str(run.folder / "adapter"))
    ask(run.folder.resolve().name, adapted)
    adapted.unload()
    if "rtuning" in options.rivals:
        ask("R-Tuning", train_rtuning(setting, model))
    if "truthrl" in options.rivals:
        ask("TruthRL", train_truthrl(setting, options))
    head = "".join(f"{each:>10}" for each in VERDICTS) + f"{'AUROC':>12}{'wrong at 60':>12}"
    say("\n".join([f"{'asked':<10} {'model':<10} {'n':>5}{head}", *sorted(lines, key=lambda each: each.split()[0])]))


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, train, and print the table.

    Raises:
        RecipeError: the folder is not a finished run's, or is the one to write to; or a rival cannot begin.
    """
    options, words = read_options(argv)
    run = Run.read(options.run)
    run.require_trusted("--trust_remote_code" in words)
    args, training = parse(["--config", str(options.run / "recipe.yaml"), *words])
    check_writable("--output_dir", Path(str(training.output_dir)), folder=True)
    if Path(str(training.output_dir)).resolve() == options.run.resolve():
        raise RecipeError(f"--output_dir: {training.output_dir} holds the run itself; name another folder")
    if "rtuning" not in options.rivals and not args.ask_to_decline:
        raise RecipeError("--rivals: truthrl needs a model that declines; add rtuning, or --ask_to_decline true")
    main(run, options, args, training)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
