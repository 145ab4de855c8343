"""The main job: score the blocks, select some, put LoRA on them, train, evaluate, report.

    deepspeed train/contrastive.py --config recipes/truthfulqa.yaml --output_dir outputs/truthfulqa

Plain `python train/contrastive.py ...` works too, on one process.
"""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from train.inputs import check_inputs, check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import answer_early, exit_status
from train.runtime.distributed import from_main, on_main_process, say
from train.runtime.files import write_json_lines, write_text


def check(argv: Sequence[str] | None = None) -> None:
    """Check the command line and the recipe, and that there is what they name."""
    check_inputs(check_recipe(argv))


if __name__ == "__main__":
    answer_early(check)  # before the imports below, which take seconds

from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments, set_seed

from data.examples import Example
from eavss.blocks import find_blocks
from eavss.profile import LayerProfile, PairedBatch
from eavss.selectors import check_layers
from train.batching.encoding import Encoder
from train.declining.asking import ask_base
from train.evaluation.benchmarks import Benchmark, load_benchmarks
from train.evaluation.calibration import answer_evaluated, calibrate_sets, carried, write_confidence
from train.evaluation.compare import compare_evaluations
from train.evaluation.evaluate import evaluate, free_answers
from train.evaluation.free_answers import generation_settings
from train.evaluation.probing import probe_layers
from train.evaluation.records import Carried, Comparison
from train.model.counting import count_passes
from train.model.kept_tensors import KeptTensors
from train.model.loading import load_adapted, load_model
from train.model.sharding import free_weights
from train.model.tokenizer import load_tokenizer
from train.model.trial import require_trainable
from train.plan import TrainFigures
from train.publishing.hub import HubRepo
from train.publishing.publish import Export, hub_repo, push_run
from train.publishing.report import comparison_table, write_results
from train.publishing.run_folder import TRAINING_EXAMPLES, Results
from train.recipe.provenance import command_line, recipe_text
from train.resuming.finding import find_checkpoint, is_finished
from train.runtime.hardware import choose_dtype
from train.runtime.output_lock import only_writer
from train.runtime.stages import clock
from train.selection.layers_file import LayersRecord, layers_record, write_profile
from train.selection.model_scores import ModelScores, model_scores
from train.selection.scoring import score, select
from train.training import TrainingSetup, fine_tune, make_scoring_batches, make_training_examples, make_training_pairs

_WRITTEN = "results.json, report.html, layers.json, layers.png, pairs.safetensors, adapter/, items/"
_PACKAGES = ("eavss", "torch", "transformers", "peft", "trl", "datasets", "evaluate", "deepspeed")


def main(args: EavssArguments, training: TrainingArguments, checkpoint: str | None) -> Results:
    """Run the whole job, from a checkpoint on if there is one, and return what `results.json` holds."""
    output, seed = Path(str(training.output_dir)), training.seed
    repo = _begin(args, training)

    _banner("Model and data")
    tokenizer = load_tokenizer(args.base_model)
    encoder = Encoder.of(tokenizer, args)
    say(f"prompt: {encoder.described}")
    benchmarks, pools = _load_data(args, seed)
    model = _load_base(args, training)
    examples = make_training_examples(pools, model, tokenizer, args, seed)
    _write_inputs(output, examples, recipe_text(args, training))
    say(f"{args.dataset}: {len(examples)} training questions; evaluation on {', '.join(map(str, benchmarks))}")
    answers = ask_base(model, encoder, examples, args, training)

    _banner("Score")
    profile, more = _score(model, make_scoring_batches(examples, encoder, args, seed), args, seed)

    _banner("Select")
    choice = select(profile, args.selection, seed, more)
    layers = layers_record(profile, choice, model=args.model_name_or_path, dataset=args.dataset, seed=seed)
    _record(output, layers, profile)

    _banner("Evaluate before training")
    before = evaluate(model, tokenizer, benchmarks, args.evaluation, "before", lowest_trained=choice.selection.lowest)

    _banner("Train")
    pairs = make_training_pairs(examples, encoder, args, training, answers)
    figures = fine_tune(TrainingSetup(model, tokenizer, pairs, args, seed), choice.selection, training, checkpoint)
    free_weights(model)  # for the base that the adapter is put on again
    del model

    _banner("Evaluate after training")
    adapted = _load_trained(args, training)
    after = evaluate(adapted, tokenizer, benchmarks, args.evaluation, "after")

    _banner("Calibrate")
    free = free_answers(adapted, tokenizer, args.evaluation)
    calibrations = calibrate_sets(free, benchmarks, args.evaluation, examples, probe_layers(adapted))
    write_confidence([output, output / "adapter"], calibrations, args.dataset)

    _banner("Results")
    thresholds = carried(calibrations, answer_evaluated(free, benchmarks, calibrations))
    results = _results(args, layers, figures, compare_evaluations(before, after, seed), thresholds)
    results = write_results(output, results, before, after)
    say(f"selected blocks {layers['selected']}\n{comparison_table(results)}\nwritten to {output}: {_WRITTEN}")
    _push(output, repo, args)
    return results


def _begin(args: EavssArguments, training: TrainingArguments) -> HubRepo | None:
    """Seed everything, and check before anything is computed that the run may be pushed; return the repo."""
    clock.start()
    set_seed(training.seed)
    say(f"device {training.device}, dtype {choose_dtype(args.dtype)}, {training.world_size} rank(s)")
    return from_main(lambda: hub_repo(training, args.hub_overwrite))


@clock.stage("data")
def _load_data(args: EavssArguments, seed: int) -> tuple[list[Benchmark], list[list[Example]]]:
    """Load the sets to evaluate on, and the examples to learn from."""
    return load_benchmarks(args.evaluation, seed), args.source.training_pools(args.dataset)


@on_main_process
def _write_inputs(output: Path, examples: list[Example], recipe: str) -> None:
    """Write down what the run learns from, and the recipe that it follows."""
    write_json_lines(output / TRAINING_EXAMPLES, (example.to_json() for example in examples))
    write_text(output / "recipe.yaml", recipe)


def _results(
    args: EavssArguments, layers: LayersRecord, train: TrainFigures, comparison: Comparison, confidence: Carried
) -> Results:
    """Put together what `results.json` holds."""
    return {
        "model": args.model_name_or_path,
        "dataset": args.dataset,
        "samples": args.datasets_root == "samples",
        "selected": layers["selected"],
        "benchmarks": comparison["benchmarks"],
        "retention": comparison["retention"],
        "train": train,
        "confidence": confidence,
        "generation": generation_settings(args.evaluation.prompt_style),
        "command": command_line(),
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
    }


@clock.stage("load")
def _load_base(args: EavssArguments, training: TrainingArguments) -> PreTrainedModel:
    """Load the base, and refuse blocks that it does not have or that cannot be trained, before anything is computed."""
    model = load_model(args.base_model, training)
    if args.layers is not None:
        check_layers(args.layers, len(find_blocks(model).modules))
    require_trainable(model, args.lora)
    count_passes(model)
    return model


@clock.stage("load")
def _load_trained(args: EavssArguments, training: TrainingArguments) -> PreTrainedModel | PeftModel:
    """Load the base again, with the adapter that was trained."""
    model = load_adapted(args.base_model, training, Path(str(training.output_dir)) / "adapter")
    count_passes(model)
    return model


def _score(
    model: PreTrainedModel, batches: list[PairedBatch], args: EavssArguments, seed: int
) -> tuple[LayerProfile, ModelScores | None]:
    """Profile the blocks, and score them as the selector asks where it decides and the profile is not all it needs."""
    profile = score(model, batches, KeptTensors(args.cache_bytes, args.fresh))
    return profile, None if args.layers else model_scores(model, batches, args.selector, seed)


def _push(output: Path, repo: HubRepo | None, args: EavssArguments) -> None:
    """Push the finished run, where the recipe names a repo."""
    if repo is not None:
        export = Export(args.hub_merged, base_model=args.hub_base_model, license=args.hub_license)
        push_run(output, repo, args.base_model, export)


@clock.stage("report")
def _record(output: Path, layers: LayersRecord, profile: LayerProfile) -> None:
    """Say which blocks were selected, and write down why."""
    write_profile(output, layers, profile)
    say(f"selected blocks {layers['selected']} of {len(layers['layers'])} ({layers['selector']})")
    say(layers["stability"]["verdict"])


def _banner(title: str) -> None:
    say(f"\n*** {title} ***")


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line and run the job, or the rest of it, as the only one in its output folder."""
    check(argv)
    args, training = parse(argv)
    with only_writer(Path(str(training.output_dir))):
        recipe = recipe_text(args, training)
        # The main rank decides, since it has the key with which checkpoints are signed.
        checkpoint = from_main(lambda: find_checkpoint(training, recipe, args.trust_checkpoint))
        if from_main(lambda: is_finished(checkpoint, training)):
            say(f"{training.output_dir} holds the finished run of this recipe; nothing is changed")
        else:
            main(args, training, checkpoint)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
