"""Run the stages of a job on one of the ranks that `benchmark_memory.py` starts, and write each stage's peak memory.

deepspeed --num_gpus 2 scripts/benchmarks/benchmark_memory_run.py --folder FOLDER --config recipes/demo.yaml
    --model_name_or_path MODEL --deepspeed recipes/deepspeed/zero3.json
"""

import argparse
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainingArguments

from eavss.selectors import Selection
from scripts.benchmarks.measuring import PeakMemory
from train.batching.encoding import Encoder
from train.evaluation.evaluate import free_answers
from train.evaluation.free_answers import FreeAnswers
from train.evaluation.likelihood import AnswerScorer
from train.model.adapter_files import save_adapter
from train.model.loading import load_adapted, load_model
from train.model.sharding import free_weights
from train.model.tokenizer import load_tokenizer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.distributed import is_main_process, say
from train.runtime.files import write_json
from train.runtime.hardware import prepare_process
from train.selection.scoring import score, select
from train.training import TrainingSetup, make_scoring_batches, make_training_examples, make_training_pairs


class Job:
    """The stages of `train/contrastive.py` with a model, in its order, one method each."""

    def __init__(self, args: EavssArguments, training: TrainingArguments) -> None:
        self._args, self._training = args, training
        self._tokenizer = load_tokenizer(args.base_model)
        self._encoder = Encoder.of(self._tokenizer, args)
        self._adapter = Path(str(training.output_dir)) / "adapter"

    def stages(self) -> dict[str, Callable[[], None]]:
        """Return what to run, by what it is called."""
        return {
            "load": self._load,
            "mine": self._mine,
            "score": self._score,
            "evaluate": self._evaluate,
            "free answers": self._answer,
            "references": self._read,
            "train": self._train,
            "reload": self._reload,
            "evaluate after": self._evaluate,
            "free answers after": self._answer,
        }

    def _load(self) -> None:
        self._model: Any = load_model(self._args.base_model, self._training)

    def _mine(self) -> None:
        pools = self._args.source.training_pools(self._args.dataset)
        self._examples = make_training_examples(pools, self._model, self._tokenizer, self._args, seed=0)

    def _score(self) -> None:
        profile = score(self._model, make_scoring_batches(self._examples, self._encoder, self._args, seed=0))
        self._selection: Selection = select(profile, self._args.selection, seed=0).selection

    def _evaluate(self) -> None:
        sequences = [s for e in self._examples for s in self._encoder(e, (*e.truthful, *e.hallucinated))]
        AnswerScorer(self._model, self._encoder, self._args.eval_token_budget).score_sequences(sequences, "scoring")

    def _answer(self) -> None:
        free: FreeAnswers | None = free_answers(self._model, self._tokenizer, self._args.evaluation)
        assert free is not None
        free(self._examples, "answering")

    def _read(self) -> None:
        pairs = make_training_pairs(self._examples, self._encoder, self._args, self._training)
        self._setup = TrainingSetup(self._model, self._tokenizer, pairs, self._args, seed=0)
        self._setup.read_base(self._selection)

    def _train(self) -> None:
        trainer = self._setup.trainer(self._selection, self._training)
        trainer.train()
        save_adapter(trainer.adapted, self._adapter)
        self._training.distributed_state.wait_for_everyone()

    def _reload(self) -> None:
        free_weights(self._model)
        del self._model, self._setup
        self._model = load_adapted(self._args.base_model, self._training, self._adapter)


def measure(job: Job) -> dict[str, int]:
    """Run the stages, and return the peak memory of each above what the process held before, in bytes."""
    before, found = PeakMemory.now(), {}
    for name, stage in job.stages().items():
        gc.collect()
        peak = PeakMemory(above=before)
        stage()
        found[name] = peak.stop()
        say(f"{name}: {found[name] / 1e6:.0f} MB")
    return found


def main() -> None:
    """Run the job that the command line names, and write the highest figures of all ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    options, words = parser.parse_known_args()
    datasets.config.HF_DATASETS_CACHE = options.folder
    prepare_process()
    args, training = parse(words)
    own = measure(Job(args, training))
    of_ranks: list[dict[str, int]] = [{} for _ in range(training.world_size)]
    torch.distributed.all_gather_object(of_ranks, own)
    if is_main_process():
        write_json(options.folder / "result.json", {name: max(rank[name] for rank in of_ranks) for name in own})


if __name__ == "__main__":
    main()
