"""Time our likelihoods beside those of lm-evaluation-harness, on the same requests, model, device and dtype.

    python scripts/benchmarks/benchmark_evaluation.py [--datasets_root FOLDER] [--model_name_or_path MODEL]
        [--questions 60] [--repeats 3] [--dtype bfloat16] [--json FILE]

The requests come from the harness's task truthfulqa_mc2 and from the WikiQA tasks in recipes/lm_eval, with and without
their three fixed questions. The longer a prompt is beside its answers, the more it saves to read the prompt once. The
harness's HF model runs at batch sizes 1, 8 and 32, and the fastest counts. Both times include tokenisation and the
forward passes.
"""

import glob
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import lm_eval
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.dataset import DataSet
from data.places import SAMPLES, hub_layout_rows
from data.sets import SETS
from scripts.benchmarks.measuring import load_model_and_tokenizer, seconds
from train.batching.encoding import Encoder
from train.evaluation.likelihood import AnswerScorer
from train.recipe.arguments import REPOSITORY
from train.runtime.command import Parser, exit_status
from train.runtime.files import cache_folder, write_json, write_text
from train.runtime.option_types import new_file, positive

BATCH_SIZES = (1, 8, 32)
TASKS = Path(lm_eval.__file__).parent / "tasks"
DEFINITIONS = {
    "truthfulqa": (SETS["truthfulqa"], TASKS / "truthfulqa/truthfulqa_mc2.yaml"),
    "wikiqa": (SETS["wikiqa"], REPOSITORY / "recipes/lm_eval/wikiqa/wikiqa.yaml"),
    "wikiqa_zero_shot": (SETS["wikiqa"], REPOSITORY / "recipes/lm_eval/wikiqa/wikiqa_zero_shot.yaml"),
}


def local_task(definition: Path, known: DataSet, root: Path, folder: Path) -> Any:
    """Load a task of the harness that includes `definition` and changes only where its rows are.

    Args:
        definition: the harness's YAML.
        known: the set.
        root: a folder in Hub layout.
        folder: where the including YAML is written.
    """
    rows = root / known.hub_id / known.config / f"{known.validation_split}.parquet"
    config = {
        "include": str(definition),
        "task": f"local_{definition.stem}",
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": glob.escape(str(rows.resolve()))}},
        "training_split": None,
        "validation_split": "validation",
        "test_split": None,
    }
    path = folder / f"{config['task']}.yaml"
    write_text(path, yaml.safe_dump(config))
    return TaskManager().load(str(path))["tasks"][config["task"]]


class SetTimes(TypedDict):
    """The times of one set's requests, medians in seconds; `all_seconds` holds every round of every side."""

    requests: int
    ours_seconds: float
    lm_eval_seconds: float
    lm_eval_batch_size: int
    speedup: float
    all_seconds: dict[str, list[float]]


def measure(
    requests: list[Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, repeats: int, token_budget: int
) -> SetTimes:
    """Return the medians over `repeats` rounds. In a round our side runs once, and the harness at every batch size."""
    scorer = AnswerScorer(model, Encoder(tokenizer, "harness", 2048), token_budget)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: scorer.score_sequences([scorer.encoder.after_text(*r.args) for r in requests], "ours")
    }
    for size in BATCH_SIZES:
        peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
        sides[f"lm_eval_{size}"] = lambda peer=peer: peer.loglikelihood(requests, disable_tqdm=True)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    fastest = min((f"lm_eval_{size}" for size in BATCH_SIZES), key=lambda name: medians[name])
    return {
        "requests": len(requests),
        "ours_seconds": medians["ours"],
        "lm_eval_seconds": medians[fastest],
        "lm_eval_batch_size": int(fastest.rpartition("_")[2]),
        "speedup": medians[fastest] / medians["ours"],
        "all_seconds": times,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each set and print a line for it."""
    parser = Parser(__doc__)
    parser.add_argument("--model_name_or_path", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--datasets_root", type=Path, default=SAMPLES)
    parser.add_argument("--questions", type=positive, default=60)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--token_budget", type=positive, default=2048)
    parser.add_argument("--json", type=new_file)
    options = parser.parse_args(argv)
    model, tokenizer = load_model_and_tokenizer(options.model_name_or_path, options.dtype)
    machine = f"{model.device.type}, {torch.get_num_threads()} threads, {model.dtype}"
    print(f"{options.model_name_or_path}, {machine}", flush=True)
    found = {}
    for known, _ in DEFINITIONS.values():
        hub_layout_rows(known.hub_id, known.config, known.validation_split, str(options.datasets_root))
    for name, (known, definition) in DEFINITIONS.items():
        task = local_task(definition, known, options.datasets_root, cache_folder() / "lm_eval")
        task.build_all_requests(limit=options.questions)
        found[name] = measure(task.instances, model, tokenizer, options.repeats, options.token_budget)
        print(
            f"{name}: {found[name]['requests']} requests, ours {found[name]['ours_seconds']:.1f} s, lm-eval "
            f"{found[name]['lm_eval_seconds']:.1f} s (batch size {found[name]['lm_eval_batch_size']}), "
            f"{found[name]['speedup']:.2f}x",
            flush=True,
        )
    ours = sum(times["ours_seconds"] for times in found.values())
    theirs = sum(times["lm_eval_seconds"] for times in found.values())
    if options.json:
        total = {"ours_seconds": ours, "lm_eval_seconds": theirs, "speedup": theirs / ours}
        write_json(options.json, total | {"sets": found})


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
