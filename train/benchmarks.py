"""Evaluation on held-out questions, the same questions and wrong answers before and after training."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import truthfulqa
from data.examples import Example, hash_fraction
from data.hallucinations import with_similar_answers
from data.sources import SETS, load_sides
from train.arguments import EavssArguments
from train.likelihood import AnswerLogprob, AnswerScorer
from train.metrics import ContrastAccuracy, TruthfulQAChoice, compute


@dataclass(frozen=True)
class Benchmark:
    """One set's evaluation questions, each with the one wrong answer that its contrast is measured against."""

    name: str
    examples: list[Example]
    wrong: list[str]

    def answers(self) -> list[tuple[Example, str]]:
        """Every answer that this benchmark needs the likelihood of."""
        if self.name == truthfulqa.NAME:
            return [(example, answer) for example in self.examples for answer in _choices(example)]
        pairs = zip(self.examples, self.wrong, strict=True)
        return [(example, answer) for example, wrong in pairs for answer in (example.truthful[0], wrong)]

    def measure(self, scores: dict[tuple[Example, str], AnswerLogprob]) -> dict[str, float]:
        """The set's metrics from the likelihoods of `answers()`."""
        metrics = compute(
            ContrastAccuracy,
            truthful=[scores[example, example.truthful[0]].per_token for example in self.examples],
            hallucinated=[scores[pair].per_token for pair in zip(self.examples, self.wrong, strict=True)],
        )
        if self.name == truthfulqa.NAME:
            metrics |= compute(
                TruthfulQAChoice,
                predictions=[[scores[e, answer].total for answer in _choices(e)] for e in self.examples],
                references=[[1] * len(e.truthful) + [0] * len(e.hallucinated) for e in self.examples],
            )
        return metrics


def _choices(example: Example) -> tuple[str, ...]:
    return (*example.truthful, *example.hallucinated)


def load_benchmarks(args: EavssArguments, seed: int) -> list[Benchmark]:
    """The evaluation sides of `evaluate_on`, and of the user's own data if `dataset` is that.

    Sets without wrong answers get the true answer to a similar evaluation question. The model's own mistakes would not
    do: against these it starts near zero and improves by construction.

    Raises:
        DataError: a set cannot be loaded.
    """
    names = {name: name for name in args.evaluate_on}
    if args.dataset not in SETS:
        names[Path(args.dataset).stem if Path(args.dataset).is_file() else args.dataset] = args.dataset
    return [_benchmark(name, dataset, args, seed) for name, dataset in names.items()]


def _benchmark(name: str, dataset: str, args: EavssArguments, seed: int) -> Benchmark:
    pool = load_sides(dataset, args.datasets_root, args.evaluation_share).evaluation
    taken = sorted(pool, key=lambda example: hash_fraction(f"{seed} {example.question}"))[: args.eval_limit]
    examples = with_similar_answers(taken, pool, count=1, seed=seed)
    wrong = [random.Random(f"{seed}:{example.question}").choice(example.hallucinated) for example in examples]
    return Benchmark(name, examples, wrong)


def run_benchmarks(benchmarks: list[Benchmark], scorer: AnswerScorer, description: str) -> dict[str, dict[str, Any]]:
    """{set: {"n": questions, "score": {metric: value}}}; every answer is scored once, all sets in one pass."""
    answers = list(dict.fromkeys(answer for benchmark in benchmarks for answer in benchmark.answers()))
    scores = dict(zip(answers, scorer.score(answers, description), strict=True))
    return {b.name: {"n": len(b.examples), "score": b.measure(scores)} for b in benchmarks}
