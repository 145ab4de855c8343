"""The evaluation questions of each set, the same before and after training."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.examples import Example, hash_fraction, normalise_question
from data.hallucinations import with_similar_answers
from data.passages import with_other_passages, with_passages
from data.sets import SETS, leading_metric
from train.evaluation.free_answers import rule_of
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.metrics import contrast, multiple_choice, ranking, single_choice
from train.recipe.settings import EvaluationSettings


@dataclass(frozen=True)
class Question:
    """An evaluation question.

    Args:
        example: the question and its answers.
        right, wrong: the truthful answer and the wrong one whose contrast is measured.
        other: the example whose prompt replaces its own in the question-hidden control.
        misplaced: the question with a passage that does not answer it; None where no passages are shown.
    """

    example: Example
    right: str
    wrong: str
    other: Example
    misplaced: Example | None = None

    @property
    def _choice_metrics(self) -> str | None:
        known = SETS.get(self.example.dataset)
        return known.choice_metrics if known else None

    def answers(self) -> tuple[str, ...]:
        """Return the answers whose likelihood the metrics need, the truthful ones first."""
        if self._choice_metrics:
            return (*self.example.truthful, *self.example.hallucinated)
        return (self.right, self.wrong)

    def is_truthful(self, answer: str) -> bool:
        """Return whether one of `answers()` is truthful here; elsewhere it may be preferred to a worse one."""
        return answer in self.example.truthful and answer != self.wrong

    def metrics(self, scores: dict[str, AnswerLogprob]) -> dict[str, float]:
        """Return the set's metrics from the likelihoods of `answers()`."""
        found = contrast(scores[self.right], scores[self.wrong])
        return found | self.choice_metrics({answer: score.total for answer, score in scores.items()})

    def choice_metrics(self, totals: dict[str, float]) -> dict[str, float]:
        """Return the metrics that compare all answers, from their summed log-probabilities; {} for sets without any."""
        true, false = self.example.truthful, self.example.hallucinated
        match self._choice_metrics:
            case "mc":
                return multiple_choice([totals[a] for a in true], [totals[a] for a in false])
            case "accuracy":
                return single_choice((true[0], totals[true[0]]), [(a, totals[a]) for a in false])
            case "ranking":
                labels = [1] * len(true) + [0] * len(false)
                return ranking([totals[a] / len(a) for a in (*true, *false)], labels)
        return {}


@dataclass(frozen=True)
class Benchmark:
    """One set's evaluation questions.

    Args:
        name: the set's name, or that of the user's own data.
        dataset: what a recipe calls the set, which differs from the name for a file.
        split: the split that the questions are from.
        questions: the questions, in the order of evaluation.
        shots: training questions to show before each question.
    """

    name: str
    dataset: str
    split: str
    questions: list[Question]
    shots: Sequence[Example] = ()

    def __str__(self) -> str:
        return f"{self.name} ({len(self.questions)})"


def asked_freely(benchmarks: Sequence[Benchmark]) -> list[Benchmark]:
    """Return those whose questions have a rule to judge free answers."""
    return [benchmark for benchmark in benchmarks if rule_of(benchmark.questions[0].example) is not None]


def load_benchmarks(settings: EvaluationSettings, seed: int) -> list[Benchmark]:
    """Load the evaluation questions of each set.

    Sets without wrong answers get the true answer to a similar evaluation question. The model's own mistakes would not
    do: against these it starts near zero and improves by construction.

    Args:
        seed: draws the questions where the settings name no seed of their own.

    Raises:
        DataError: a set cannot be loaded.
    """
    seed = seed if settings.seed is None else settings.seed
    names = {own_name(dataset): dataset for dataset in settings.sets}
    return [_load(name, dataset, settings, seed) for name, dataset in names.items()]


def own_name(dataset: str) -> str:
    """Name a file by its stem, unless that is the name of a set; a set or a Hub id keeps its name."""
    stem = Path(dataset).stem
    return stem if Path(dataset).is_file() and stem not in SETS else dataset


def _load(name: str, dataset: str, settings: EvaluationSettings, seed: int) -> Benchmark:
    source = settings.source
    pool = source.evaluation(dataset)
    if settings.passages:
        pool = with_passages(pool)
    taken = sorted(pool, key=lambda example: hash_fraction(f"{seed} {example.conversation}"))[: settings.limit]
    examples = with_similar_answers(taken, pool, count=1, seed=seed)
    others = [_next_other(examples, index) for index in range(len(examples))]
    if settings.question_hidden and any(other is example for other, example in zip(others, examples, strict=True)):
        raise DataError(f"{name}: one question alone cannot be hidden behind another; set question_hidden to false")
    misplaced = with_other_passages(examples, seed) if settings.passages else [None] * len(examples)
    questions = [
        Question(example, *_contrasted(example, seed), other, beside)
        for example, other, beside in zip(examples, others, misplaced, strict=True)
    ]
    # All of a set's questions have the same figures.
    questions = [question for question in questions if question.misplaced or not any(misplaced)]
    if settings.prompt_style == "harness" or not settings.num_fewshot:
        return Benchmark(name, dataset, source.evaluated_rows(dataset), questions)
    # A conversation's last question alone shows nothing.
    train = [example for example in source.split(dataset).train if not example.history]
    shots = sorted(train, key=lambda shot: hash_fraction(f"{seed} {shot.question}"))[: settings.num_fewshot]
    return Benchmark(name, dataset, source.evaluated_rows(dataset), questions, shots)


def _contrasted(example: Example, seed: int) -> tuple[str, str]:
    """Draw the two answers whose contrast is measured: the best truthful one and a wrong one, or a pair of the data."""
    draw = random.Random(f"{seed}:{example.conversation}")
    return draw.choice(example.pairs) if example.pairs else (example.truthful[0], draw.choice(example.hallucinated))


def _next_other(examples: list[Example], index: int) -> Example:
    """Return the next example with another question (their order is random), or the same one if there is none."""
    own = normalise_question(examples[index].conversation)
    following = (*examples[index + 1 :], *examples[:index])
    return next((e for e in following if normalise_question(e.conversation) != own), examples[index])


def leading_values(scorer: AnswerScorer, benchmark: Benchmark, description: str) -> list[float]:
    """Return each question's value of the set's leading metric, and compute nothing else."""
    name = leading_metric(benchmark.name)
    sequences = [s for question in benchmark.questions for s in scorer.encoder(question.example, question.answers())]
    scores = iter(scorer.score_sequences(sequences, description))
    return [question.metrics({a: next(scores) for a in question.answers()})[name] for question in benchmark.questions]
