"""Evaluation on held-out questions, the same questions and wrong answers before and after training."""

import random
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from data import nq, sciq, triviaqa, truthfulqa, wikiqa
from data.errors import DataError
from data.examples import Example, hash_fraction, normalise_question
from data.hallucinations import with_similar_answers
from data.sources import SETS
from eavss.batches import TokenSequence
from train.evaluation.free_answers import FreeAnswers
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.metrics import (
    CONTRAST,
    LEADING,
    ContrastAccuracy,
    compute,
    contrast,
    free_answer,
    length_rule,
    ranking,
    sciq_choice,
    truthfulqa_choice,
)
from train.recipe.arguments import ALL, EavssArguments

# What is known of one question: its text, its metrics by kind, and what they were computed from.
Record = dict[str, Any]

GENERATED = (nq.NAME, triviaqa.NAME)
_CHOICES = (sciq.NAME, truthfulqa.NAME, wikiqa.NAME)


@dataclass(frozen=True)
class Question:
    """An evaluation question.

    Args:
        example: the question and its answers.
        wrong: the one wrong answer that its contrast is measured against.
        other: the example whose prompt stands in for its own in the question-hidden control.
    """

    example: Example
    wrong: str
    other: Example

    def answers(self) -> tuple[str, ...]:
        """The answers whose likelihood is wanted, the truthful ones first."""
        if self.example.dataset in _CHOICES:
            return (*self.example.truthful, *self.example.hallucinated)
        return (self.example.truthful[0], self.wrong)

    def metrics(self, scores: dict[str, AnswerLogprob]) -> dict[str, float]:
        """The set's metrics from the likelihoods of `answers()`."""
        found = contrast(scores[self.example.truthful[0]], scores[self.wrong])
        return found | self.choice_metrics({answer: score.total for answer, score in scores.items()})

    def choice_metrics(self, totals: dict[str, float]) -> dict[str, float]:
        """MC1 and MC2, or acc and acc_norm, or MAP, MRR and P@1; nothing for sets without choices."""
        true, false = self.example.truthful, self.example.hallucinated
        match self.example.dataset:
            case truthfulqa.NAME:
                return truthfulqa_choice([totals[a] for a in true], [totals[a] for a in false])
            case sciq.NAME:
                return sciq_choice((true[0], totals[true[0]]), [(a, totals[a]) for a in false])
            case wikiqa.NAME:
                labels = [1] * len(true) + [0] * len(false)
                return ranking([totals[a] / len(a) for a in (*true, *false)], labels)
        return {}


@dataclass(frozen=True)
class Benchmark:
    """One set's evaluation questions."""

    name: str
    questions: list[Question]


def load_benchmarks(args: EavssArguments, seed: int) -> list[Benchmark]:
    """The evaluation sides of `evaluate_on`, and of the user's own data if `dataset` is that.

    Sets without wrong answers get the true answer to a similar evaluation question. The model's own mistakes would not
    do: against these it starts near zero and improves by construction.

    Raises:
        DataError: a set cannot be loaded.
    """
    names = {name: name for name in args.evaluate_on}
    if args.dataset not in (*SETS, ALL):
        names[_own_name(args.dataset)] = args.dataset
    return [_benchmark(name, dataset, args, seed) for name, dataset in names.items()]


def _own_name(dataset: str) -> str:
    """A file's name without its ending, unless that is the name of one of the five sets; a Hub id as it stands."""
    stem = Path(dataset).stem
    return stem if Path(dataset).is_file() and stem not in SETS else dataset


def _benchmark(name: str, dataset: str, args: EavssArguments, seed: int) -> Benchmark:
    pool = args.sides(dataset).evaluation
    taken = sorted(pool, key=lambda example: hash_fraction(f"{seed} {example.question}"))[: args.eval_limit]
    examples = with_similar_answers(taken, pool, count=1, seed=seed)
    others = [_next_other(examples, index) for index in range(len(examples))]
    if args.question_hidden and any(other is example for other, example in zip(others, examples, strict=True)):
        raise DataError(f"{name}: one question alone cannot be hidden behind another; set question_hidden to false")
    wrong = [random.Random(f"{seed}:{example.question}").choice(example.hallucinated) for example in examples]
    return Benchmark(name, [Question(*parts) for parts in zip(examples, wrong, others, strict=True)])


def _next_other(examples: list[Example], index: int) -> Example:
    """The next example that asks something else (their order is one of chance), or the same if there is none."""
    own = normalise_question(examples[index].question)
    following = (*examples[index + 1 :], *examples[:index])
    return next((e for e in following if normalise_question(e.question) != own), examples[index])


@dataclass(frozen=True)
class Evaluator:
    """Runs benchmarks on a model.

    Args:
        scorer: the model, whole, and how examples become tokens.
        hidden: also score every answer under another question's prompt.
        free: lets the model answer freely the questions of NQ and TriviaQA; None to leave that out.
    """

    scorer: AnswerScorer
    hidden: bool
    free: FreeAnswers | None

    def run(self, benchmarks: list[Benchmark], description: str) -> dict[str, list[Record]]:
        """A record for each question of each benchmark, in their order; every answer is scored once, in one pass."""
        views = {
            benchmark.name: [self._views(question) for question in benchmark.questions] for benchmark in benchmarks
        }
        answers = (by_answer for of_set in views.values() for view in of_set for by_answer in view.values())
        sequences = list(dict.fromkeys(sequence for by_answer in answers for sequence in by_answer.values()))
        scores = dict(zip(sequences, self.scorer.score_sequences(sequences, description), strict=True))
        records = {
            benchmark.name: [
                self._record(question, {name: {a: scores[s] for a, s in by.items()} for name, by in view.items()})
                for question, view in zip(benchmark.questions, views[benchmark.name], strict=True)
            ]
            for benchmark in benchmarks
        }
        for benchmark in benchmarks:
            if self.free is not None and benchmark.name in GENERATED:
                self._add_free_answers(benchmark, records[benchmark.name], description)
        return records

    def _views(self, question: Question) -> dict[str, dict[str, TokenSequence]]:
        """Each answer's tokens after the question's own prompt, after another one, and after the supporting passage."""
        encoder, example = self.scorer.encoder, question.example
        views = {"metrics": {answer: encoder(example, answer) for answer in question.answers()}}
        if self.hidden:
            views["hidden"] = {answer: encoder(question.other, answer) for answer in question.answers()}
        if example.dataset == sciq.NAME:
            prompt = sciq.open_book_prompt(example)
            views["open_book"] = {answer: encoder.after_text(prompt, f" {answer}") for answer in question.answers()}
        return views

    def _record(self, question: Question, views: dict[str, dict[str, AnswerLogprob]]) -> Record:
        example = question.example
        metrics = question.metrics(views["metrics"])
        if "open_book" in views:
            totals = {answer: score.total for answer, score in views["open_book"].items()}
            metrics |= {f"open_book_{name}": value for name, value in question.choice_metrics(totals).items()}
        record: Record = {
            "question": example.question,
            "truthful": example.truthful[0],
            "wrong": question.wrong,
            "metrics": metrics,
            "per_token": {name: self._contrasted(question, scored) for name, scored in views.items()},
            "length_rule": length_rule(example.truthful[0], question.wrong, example.hallucinated),
            "choices": [
                {"text": answer, "label": int(answer in example.truthful), "logprob": s.total, "tokens": s.tokens}
                for answer, s in views["metrics"].items()
            ],
        }
        if "hidden" in views:
            record["hidden"] = question.metrics(views["hidden"])
        return record

    @staticmethod
    def _contrasted(question: Question, scores: dict[str, AnswerLogprob]) -> list[float]:
        return [scores[question.example.truthful[0]].per_token, scores[question.wrong].per_token]

    def _add_free_answers(self, benchmark: Benchmark, records: list[Record], description: str) -> None:
        assert self.free is not None
        examples = [question.example for question in benchmark.questions]
        answers = self.free(examples, f"{description}: answers to {benchmark.name}")
        normalise = SETS[benchmark.name].harness_answer
        for record, example, answer in zip(records, examples, answers, strict=True):
            record["answer"] = answer
            record["metrics"] |= free_answer(answer, example.aliases, normalise)


def mean_metrics(records: list[Record], kind: str = "metrics") -> dict[str, float]:
    """The mean of each metric over a set's questions; `kind` is `metrics`, `hidden` or `length_rule`."""
    means = {name: fmean(record[kind][name] for record in records) for name in records[0][kind]}
    if CONTRAST in means:
        truthful, hallucinated = zip(*(record["per_token"][kind] for record in records), strict=True)
        means |= compute(ContrastAccuracy, truthful=truthful, hallucinated=hallucinated)
    return means


def leading_metric(scorer: AnswerScorer, benchmark: Benchmark, description: str) -> list[float]:
    """Of each question the metric that leads its set, and nothing else: what choosing settings needs."""
    name = LEADING.get(benchmark.name, CONTRAST)
    answers = [(question.example, answer) for question in benchmark.questions for answer in question.answers()]
    scores = iter(scorer.score(answers, description))
    return [question.metrics({a: next(scores) for a in question.answers()})[name] for question in benchmark.questions]
