"""Evaluate a model: every benchmark, its free answers, and what training cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.dataset import CONTRAST_ACCURACY
from data.examples import Example
from data.judge import VERDICTS
from data.sets import SETS
from eavss.batches import TokenSequence
from train.batching.cuts import say_cuts
from train.batching.encoding import Encoder
from train.evaluation.answered import Answered, judge_answers, judged_answers
from train.evaluation.benchmarks import Benchmark, Question
from train.evaluation.free_answers import FreeAnswers, rule_of
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.lower_blocks import LowerBlocks
from train.evaluation.metrics import ContrastAccuracy, compute, free_answer, length_rule
from train.evaluation.records import QuestionRecord
from train.evaluation.retention import measure_retention
from train.model.kept_figures import KeptFigures
from train.model.kept_tensors import KeptTensors
from train.recipe.settings import EvaluationSettings
from train.runtime.distributed import say
from train.runtime.stages import clock

# A question's answers as tokens: by what stands before them (`metrics`, `hidden`, `open_book`), and by answer.
Views = dict[str, dict[str, TokenSequence]]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one model.

    Args:
        records: the record of every question, by set.
        splits: the split that a set's questions are from, by set.
        retention: the figures of `train.evaluation.retention`, by text set.
    """

    records: dict[str, list[QuestionRecord]]
    splits: dict[str, str]
    retention: dict[str, dict[str, float]]


def evaluate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: list[Benchmark],
    settings: EvaluationSettings,
    description: str,
    *,
    lowest_trained: int | None = None,
) -> Evaluation:
    """Run everything that the settings ask for.

    Args:
        description: names the evaluation in progress bars.
        lowest_trained: the lowest block that will be trained, where the model is a base; what enters it is kept, so
            that the evaluation of the trained model can start there.
    """
    shots = {benchmark.questions[0].example.dataset: benchmark.shots for benchmark in benchmarks if benchmark.shots}
    encoder = Encoder.of(tokenizer, settings, shots)
    kept = KeptFigures(settings.fresh)
    lower = LowerBlocks.of(model, lowest_trained, KeptTensors(settings.cache_bytes, settings.fresh))
    scorer = AnswerScorer(model, encoder, settings.token_budget, kept=kept, lower=lower)
    free = free_answers(model, tokenizer, settings, shots, kept)
    records = Evaluator(scorer, settings.question_hidden, free).run(benchmarks, description)
    splits = {benchmark.name: benchmark.split for benchmark in benchmarks}
    asked = settings.retention
    if asked and settings.source.root == "samples":
        say("retention is left out: the samples hold no running text")
        asked = ()
    with clock.stage(f"{description}: retention"):
        retention = measure_retention(scorer, asked, settings.source.root, settings.retention_limit)
    kept.say_used(description)
    return Evaluation(records, splits, retention)


def free_answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: EvaluationSettings,
    shots: Mapping[str, Sequence[Example]] | None = None,
    kept: KeptFigures | None = None,
) -> FreeAnswers | None:
    """Return what lets the model answer in its own words; None where the settings ask for no such answers."""
    return FreeAnswers.of(model, tokenizer, settings, shots or {}, kept) if settings.free_answers else None


@dataclass(frozen=True)
class Evaluator:
    """Runs benchmarks on a model.

    Args:
        scorer: the model, and how examples become tokens.
        hidden: also score every answer under another question's prompt.
        free: lets the model answer freely, where a set has a rule for that; None to leave that out.
    """

    scorer: AnswerScorer
    hidden: bool
    free: FreeAnswers | None

    def run(self, benchmarks: list[Benchmark], description: str) -> dict[str, list[QuestionRecord]]:
        """Return a record for each question of each benchmark, in their order; see `_measure`."""
        return {benchmark.name: self._measure(self._with_room(benchmark), description) for benchmark in benchmarks}

    def _measure(self, benchmark: Benchmark, description: str) -> list[QuestionRecord]:
        """Score every answer of a set once, whatever it is needed for, and then ask the questions freely.

        Sets have passes of their own, so that the scores of one are the same whichever others are evaluated.
        """
        views = [self._views(question) for question in benchmark.questions]
        answers = (by_answer for view in views for by_answer in view.values())
        sequences = list(dict.fromkeys(sequence for by_answer in answers for sequence in by_answer.values()))
        with clock.stage(f"{description}: choices"):
            scored = self.scorer.score_sequences(sequences, f"{description}: {benchmark.name}")
        clock.divide(f"{description}: choices", _tokens_by_part(benchmark.name, views, description))
        scores = dict(zip(sequences, scored, strict=True))
        records = [
            self._record(question, {name: {a: scores[s] for a, s in by.items()} for name, by in view.items()})
            for question, view in zip(benchmark.questions, views, strict=True)
        ]
        with clock.stage(f"{description}: free answers"):
            self._add_free_answers(benchmark, records, description)
        return records

    def _with_room(self, benchmark: Benchmark) -> Benchmark:
        """Leave out questions whose two contrasted answers are equal once cut, and say what was cut."""
        encoder = self.scorer.encoder
        contrasted = [encoder(question.example, (question.right, question.wrong)) for question in benchmark.questions]
        kept = [
            question
            for question, (right, wrong) in zip(benchmark.questions, contrasted, strict=True)
            if right != wrong or right.cut is None
        ]
        left_out = len(benchmark.questions) - len(kept)
        say_cuts(f"questions of {benchmark.name}", contrasted, encoder.max_length, equal=left_out)
        return replace(benchmark, questions=kept)

    def _views(self, question: Question) -> Views:
        """Encode each answer after the question's own prompt, another question's, and the supporting passage."""
        encoder, example, answers = self.scorer.encoder, question.example, question.answers()
        views: Views = {"metrics": dict(zip(answers, encoder(example, answers), strict=True))}
        if self.hidden:
            views["hidden"] = dict(zip(answers, encoder(question.other, answers), strict=True))
        known = SETS.get(example.dataset)
        if known and known.open_book_prompt:
            prompt = known.open_book_prompt(example)
            views["open_book"] = {answer: encoder.after_text(prompt, f" {answer}") for answer in answers}
        return views

    def _record(self, question: Question, views: dict[str, dict[str, AnswerLogprob]]) -> QuestionRecord:
        example = question.example
        metrics = question.metrics(views["metrics"])
        if "open_book" in views:
            totals = {answer: score.total for answer, score in views["open_book"].items()}
            metrics |= {f"open_book_{name}": value for name, value in question.choice_metrics(totals).items()}
        record: QuestionRecord = {
            "question": example.question,
            "truthful": question.right,
            "wrong": question.wrong,
            "metrics": metrics,
            "per_token": {name: self._contrasted(question, scored) for name, scored in views.items()},
            "length_rule": length_rule(question.right, question.wrong, example.hallucinated),
            "choices": [
                {"text": a, "label": int(question.is_truthful(a)), "logprob": s.total, "tokens": s.tokens}
                for a, s in views["metrics"].items()
            ],
        }
        if "hidden" in views:
            record["hidden"] = question.metrics(views["hidden"])
        return record

    @staticmethod
    def _contrasted(question: Question, scores: dict[str, AnswerLogprob]) -> list[float]:
        return [scores[question.right].per_token, scores[question.wrong].per_token]

    def _add_free_answers(self, benchmark: Benchmark, records: list[QuestionRecord], description: str) -> None:
        examples = [question.example for question in benchmark.questions]
        rule = rule_of(examples[0])
        if self.free is None or rule is None:
            return
        answers = self.free(examples, f"{description}: answers to {benchmark.name}")
        verdicts = [each.verdict for each in judge_answers(examples, answers)]
        for record, example, (text, confidence), verdict in zip(records, examples, answers, verdicts, strict=True):
            record["answer"] = text
            record["confidence"] = None if confidence is None else confidence._asdict()
            record["verdict"] = verdict
            record["metrics"] |= free_answer(text, example.aliases, rule.normalise, verdict)
        misplaced = [question.misplaced for question in benchmark.questions if question.misplaced]
        if misplaced:
            _add_other_passages(self.free, misplaced, records, f"{description}: {benchmark.name} with other passages")


def _tokens_by_part(name: str, views: Sequence[Views], description: str) -> dict[str, float]:
    """Return how many tokens the set reads, and its question-hidden control, as parts of the evaluation."""
    found: dict[str, float] = {}
    for view, by_answer in (item for each in views for item in each.items()):
        part = f"{description}: {'question hidden' if view == 'hidden' else name}"
        found[part] = found.get(part, 0.0) + sum(map(len, by_answer.values()))
    return found


def _add_other_passages(
    free: FreeAnswers, misplaced: Sequence[Example], records: list[QuestionRecord], description: str
) -> None:
    """Ask the questions with passages that do not answer them."""
    answers = free(misplaced, description)
    for record, answer, judged in zip(records, answers, judge_answers(misplaced, answers), strict=True):
        record["other_passage"] = {"answer": answer.text, "verdict": judged.verdict}
        record["metrics"] |= {f"other_passage_{verdict}": float(judged.verdict == verdict) for verdict in VERDICTS}


def mean_metrics(
    records: list[QuestionRecord], kind: Literal["metrics", "hidden", "length_rule"] = "metrics"
) -> dict[str, float]:
    """Return the mean of each metric of one kind over a set's questions, and those that only a set has."""
    means = {name: fmean(record[kind][name] for record in records) for name in records[0][kind]}
    if CONTRAST_ACCURACY in means:
        truthful, hallucinated = zip(*(record["per_token"][kind] for record in records), strict=True)
        means |= compute(ContrastAccuracy, truthful=truthful, hallucinated=hallucinated)
    if kind == "metrics" and "verdict" in records[0]:
        means |= Answered.of(judged_answers(records)).metrics()
    return means
