"""Do a job with TRL's DPOTrainer and lm-evaluation-harness, alone in this process, and write FOLDER/peer.json.

python scripts/benchmarks/benchmark_run_peer.py --folder FOLDER --batch_size 8 --steps 20
    --config recipes/truthfulqa.yaml ...

`benchmark_run.py` starts it. FOLDER/rows.json holds the rows (`scripts.benchmarks.shared_rows.Shared`).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import datasets
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import TrainingArguments, set_seed

from eavss.blocks import find_blocks
from train.comparison.trl_dpo import dpo_config, dpo_trainer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.hardware import choose_dtype, prepare_process
from train.runtime.option_types import positive
from train.runtime.stages import clock


class PeerResult(TypedDict):
    """What FOLDER/peer.json holds.

    Args:
        stages: the seconds of each stage.
        before, after: what the harness says of each row, by task (`scripts.benchmarks.shared_rows.Responses`).
    """

    stages: dict[str, float]
    before: dict[str, list[list[tuple[float, bool]]]]
    after: dict[str, list[list[tuple[float, bool]]]]


def task_of(name: str, rows: Sequence[Any]) -> ConfigurableTask:
    """Return a task of the harness that scores every answer of every row, or the whole text where none has answers."""
    whole = not rows[0]["answers"]
    data = {"test": datasets.Dataset.from_list([row | {"answers": row["answers"] or [""]} for row in rows])}
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: data,
            "test_split": "test",
            "output_type": "loglikelihood_rolling" if whole else "multiple_choice",
            "doc_to_text": "" if whole else "prompt",
            "doc_to_target": "prompt" if whole else 0,  # which answer counts as right; the scores alone are used
            "doc_to_choice": None if whole else "answers",
            "target_delimiter": "",  # an answer brings its space
        }
    )


def load(args: EavssArguments, batch_size: int, adapter: Path | None = None) -> HFLM:
    """Load the base, with an adapter if there is one, as the harness does; its sums of bfloat16 would be too coarse."""
    return HFLM(
        pretrained=args.model_name_or_path,
        revision=args.model_revision,
        trust_remote_code=args.trust_remote_code,
        device="cuda" if torch.cuda.is_available() else "cpu",
        dtype=choose_dtype(args.dtype),
        softmax_dtype="float32",
        batch_size=batch_size,
        max_length=args.max_length,
        peft=None if adapter is None else str(adapter),
    )


def evaluate(lm: HFLM, tasks: list[ConfigurableTask]) -> dict[str, list[list[tuple[float, bool]]]]:
    """Let the harness score all rows, without its own index of tasks and its bootstraps, and return what it says."""
    found = simple_evaluate(model=lm, tasks=tasks, task_manager=TaskManager(include_defaults=False), bootstrap_iters=0)
    assert found is not None  # which it is on other ranks than the first
    return {name: [_scores(sample["filtered_resps"]) for sample in rows] for name, rows in found["samples"].items()}


def _scores(responses: Sequence[Any]) -> list[tuple[float, bool]]:
    """Return a pair for each answer; of a whole text the harness gives the log-likelihood alone."""
    return [each if isinstance(each, tuple) else (each, False) for each in responses]


def work(options: argparse.Namespace, args: EavssArguments, training: TrainingArguments) -> PeerResult:
    """Evaluate, train and evaluate again."""
    with clock.stage("data"):
        shared = json.loads((options.folder / "rows.json").read_text(encoding="utf-8"))
        tasks = [task_of(name, rows) for name, rows in shared["tasks"].items()]
    with clock.stage("load"):
        lm = load(args, options.batch_size)
    with clock.stage("before: lm-eval"):
        before = evaluate(lm, tasks)
    with clock.stage("reference pass"):
        trainer = dpo_trainer(
            model=lm.model,
            tokenizer=lm.tokenizer,
            rows=shared["pairs"],
            blocks=range(len(find_blocks(lm.model).modules)),
            lora=args.lora,
            config=dpo_config(
                training,
                args.loss_weights,
                steps=options.steps,
                pairs=training.train_batch_size * training.gradient_accumulation_steps,
            ),
        )
    with clock.stage("train"):
        trainer.train()
        trainer.save_model(str(options.folder / "adapter"))
    del lm, trainer
    with clock.stage("load"):
        lm = load(args, options.batch_size, options.folder / "adapter")
    with clock.stage("after: lm-eval"):
        after = evaluate(lm, tasks)
    stages = {name: figures["seconds"] for name, figures in clock.figures().items()}
    return {"stages": stages, "before": before, "after": after}


def main(argv: Sequence[str] | None = None) -> None:
    """Do the work, and write what it took and found."""
    clock.start()
    parser = Parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("batch_size", "steps"):
        parser.add_argument(f"--{name}", type=positive, required=True)
    options, words = parser.parse_known_args(argv)
    prepare_process()
    args, training = parse([*words, "--output_dir", str(options.folder / "trl")])
    set_seed(training.seed)
    write_json(options.folder / "peer.json", work(options, args, training))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
