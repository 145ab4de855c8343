"""The rows that `benchmark_run.py` gives to its peer: what a run has evaluated and trained on, as plain text.

lm-evaluation-harness scores them in a process that loads nothing of ours for it, and the figures are computed here from
its log-likelihoods, by the functions that a run uses.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from transformers import PreTrainedTokenizerBase, TrainingArguments

from data.sets import SETS
from data.text import load_lambada, load_sst2, load_wikitext
from train.batching.encoding import Encoder
from train.batching.pairs import ContrastPairs
from train.evaluation.benchmarks import Benchmark, Question, load_benchmarks
from train.evaluation.likelihood import AnswerLogprob
from train.evaluation.retention import SST2_CHOICES, SST2_PROMPTS, WIKITEXT, WINDOW, short_texts
from train.model.tokenizer import load_tokenizer
from train.publishing.run_folder import read_training_examples
from train.recipe.arguments import EavssArguments
from train.training import pairs_of_run

# What the harness says of a row: a summed log-likelihood for each answer, and whether greedy decoding would write it.
Responses = Sequence[Sequence[tuple[float, bool]]]
HIDDEN, OPEN_BOOK = " hidden", " open book"


class Row(TypedDict):
    """A prompt, and the texts that may follow it with the space before them; none where the prompt itself is scored."""

    prompt: str
    answers: list[str]


class Shared(TypedDict):
    """What the peer reads.

    Args:
        tasks: the rows to score, by task.
        pairs: the training pairs, with the columns that TRL reads.
    """

    tasks: dict[str, list[Row]]
    pairs: list[dict[str, str]]


@dataclass(frozen=True)
class SharedRows:
    """The rows of one recipe.

    Args:
        args, seed: the recipe.
        encoder: as a run poses its questions.
        benchmarks: what it evaluates.
        texts: the rows of each text set that shows what training cost.
    """

    args: EavssArguments
    seed: int
    encoder: Encoder
    benchmarks: list[Benchmark]
    texts: dict[str, list[Row]]

    @classmethod
    def of(cls, args: EavssArguments, training: TrainingArguments) -> "SharedRows":
        """Load the rows of a recipe.

        Raises:
            DataError: a set cannot be loaded.
        """
        tokenizer, settings = load_tokenizer(args.base_model), args.evaluation
        benchmarks = load_benchmarks(settings, training.seed)
        shots = {each.questions[0].example.dataset: each.shots for each in benchmarks if each.shots}
        names = () if args.datasets_root == "samples" else settings.retention
        texts = {name: _text_rows(name, tokenizer, args.datasets_root, settings.retention_limit) for name in names}
        return cls(args, training.seed, Encoder.of(tokenizer, settings, shots), benchmarks, texts)

    def pairs(self, run: Path, count: int) -> ContrastPairs:
        """Draw the pairs that a run has trained on.

        Args:
            run: its output folder.
            count: the number of its pairs.
        """
        encoder = Encoder.of(self.encoder.tokenizer, self.args)  # without the examples that evaluation shows
        return pairs_of_run(read_training_examples(run), encoder, self.args, count, seed=self.seed)

    def tasks(self) -> dict[str, list[Row]]:
        """Return the rows to score by task: those of a set, of its question-hidden control, and of its open book."""
        found: dict[str, list[Row]] = {}
        for benchmark in self.benchmarks:
            for question in benchmark.questions:
                for view, prompt in self._prompts(question).items():
                    found.setdefault(f"{benchmark.name}{view}", []).append(self._row(question, prompt))
        return found | self.texts

    def figures(self, responses: Mapping[str, Responses]) -> dict[str, dict[str, float]]:
        """Return each metric by task, as in `results.json`; open-book metrics stand beside those of their set."""
        found: dict[str, dict[str, float]] = {}
        for benchmark in self.benchmarks:
            views = list(self._prompts(benchmark.questions[0]))
            for view in views:
                task = f"{benchmark.name}{view}"
                values = [
                    self._metrics(question, view, scores)
                    for question, scores in zip(benchmark.questions, responses[task], strict=True)
                ]
                means = {name: fmean(each[name] for each in values) for name in values[0]}
                found.setdefault(benchmark.name if view == OPEN_BOOK else task, {}).update(means)
        return found | {name: self._text_figures(name, responses[name]) for name in self.texts}

    def _prompts(self, question: Question) -> dict[str, str]:
        """Return what stands before a question's answers, by view, as `train.evaluation.evaluate` poses it."""
        example, known = question.example, SETS.get(question.example.dataset)
        prompts = {"": self.encoder.prompt(example)}
        if self.args.question_hidden:
            prompts[HIDDEN] = self.encoder.prompt(question.other)
        if known and known.open_book_prompt:
            prompts[OPEN_BOOK] = known.open_book_prompt(example)
        return prompts

    def _row(self, question: Question, prompt: str) -> Row:
        joined = question.example.verbatim or self.encoder.prompt_style == "chat"
        return {"prompt": prompt, "answers": [answer if joined else f" {answer}" for answer in question.answers()]}

    def _metrics(self, question: Question, view: str, scores: Sequence[tuple[float, bool]]) -> dict[str, float]:
        answers = question.answers()
        if view == OPEN_BOOK:
            totals = {answer: total for answer, (total, _) in zip(answers, scores, strict=True)}
            return {f"open_book_{name}": value for name, value in question.choice_metrics(totals).items()}
        sequences = self.encoder(question.other if view == HIDDEN else question.example, answers)
        scored = zip(answers, sequences, scores, strict=True)
        return question.metrics({a: AnswerLogprob(total, len(s.answer), greedy) for a, s, (total, greedy) in scored})

    def _text_figures(self, name: str, responses: Responses) -> dict[str, float]:
        """Return the figures of `train.evaluation.retention`."""
        if name == WIKITEXT:
            ((total, _),), text = responses[0], self.texts[name][0]["prompt"]
            tokens = len(self.encoder.tokenizer(text, verbose=False)["input_ids"])
            return {"perplexity": math.exp(-total / tokens), "word_perplexity": math.exp(-total / len(text.split()))}
        if name == "lambada":
            scores = [scored[0] for scored in responses]
            return {
                "accuracy": fmean(greedy for _, greedy in scores),
                "perplexity": math.exp(-fmean(total for total, _ in scores)),
            }
        labels = [label for _, label in load_sst2(self.args.datasets_root)[: len(responses)]]
        found = zip(responses, labels, strict=True)
        return {"accuracy": fmean((positive > negative) == label for ((negative, _), (positive, _)), label in found)}


def _text_rows(name: str, tokenizer: PreTrainedTokenizerBase, root: str | None, limit: int | None) -> list[Row]:
    """Return the rows of a text set; WikiText-2 is one row, whose windows the harness makes."""
    if name == WIKITEXT:
        ids = tokenizer(load_wikitext(root), add_special_tokens=False, verbose=False)["input_ids"]
        cut = ids if limit is None else ids[: limit * WINDOW]
        return [{"prompt": str(tokenizer.decode(cut, clean_up_tokenization_spaces=False)), "answers": []}]
    if name == "lambada":
        return [{"prompt": before, "answers": [word]} for before, word in load_lambada(root)[: short_texts(limit)]]
    phrases = [phrase for phrase, _ in load_sst2(root)[: short_texts(limit)]]
    return [{"prompt": SST2_PROMPTS[name].format(phrase), "answers": list(SST2_CHOICES)} for phrase in phrases]
