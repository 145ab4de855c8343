"""Texts of several domains: those whose activation is measured, and others on which a changed model is judged."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.sentence_pairs import SentencePair, load_sentence_pairs
from data.sets import SETS
from data.sources import DataSource
from data.text import load_lambada, load_sst2, load_wikitext
from eavss.batches import TokenSequence
from eavss.encoding import encode_as_one
from train.batching.encoding import Encoder
from train.evaluation.likelihood import AnswerScorer
from train.runtime.errors import RecipeError, require

T = TypeVar("T")

# Tokens in a window of WikiText-2: about as many as a question has, and few enough for one backward pass each.
_WINDOW = 128
_WIKITEXT = "wikitext"


@dataclass(frozen=True)
class Domain:
    """Texts of one kind.

    Args:
        name: a set's, or that of a text set.
        measured: token ids up to where the model would go on: prompts without their answers, or windows of text.
        judged: other texts, whose answers' likelihood says what a model is worth here.
    """

    name: str
    measured: list[tuple[int, ...]]
    judged: list[TokenSequence]


def _wikitext(tokenizer: PreTrainedTokenizerBase, root: str | None) -> list[TokenSequence]:
    ids = tokenizer(load_wikitext(root), add_special_tokens=False, verbose=False)["input_ids"]
    starts = range(0, len(ids) - _WINDOW + 1, _WINDOW)
    return [TokenSequence(tuple(ids[start : start + _WINDOW]), 1, _WINDOW) for start in starts]


def _lambada(tokenizer: PreTrainedTokenizerBase, root: str | None) -> list[TokenSequence]:
    return [encode_as_one(tokenizer, before, word, _WINDOW) for before, word in load_lambada(root)]


def _sst2(tokenizer: PreTrainedTokenizerBase, root: str | None) -> list[TokenSequence]:
    words = (" negative", " positive")
    posed = [(f"Review: {phrase}\nSentiment:", words[label]) for phrase, label in load_sst2(root)]
    return [encode_as_one(tokenizer, prompt, word, _WINDOW) for prompt, word in posed]


_TEXTS: dict[str, Callable[[PreTrainedTokenizerBase, str | None], list[TokenSequence]]] = {
    _WIKITEXT: _wikitext,
    "lambada": _lambada,
    "sst2": _sst2,
}


@dataclass(frozen=True)
class DomainSettings:
    """How many texts of each domain are drawn, from where and by which seed.

    Args:
        source: where the rows come from.
        measured, judged: how many texts of either kind.
        seed: draws them.
    """

    source: DataSource
    measured: int
    judged: int
    seed: int

    def load(self, name: str, encoder: Encoder) -> Domain:
        """Load one domain.

        Of a set of questions, training questions are measured, and evaluation questions with their first right answer
        judged. The one split of a text set is divided in the middle.

        Args:
            name: among `DOMAINS`.
            encoder: poses the questions.

        Raises:
            DataError: the rows cannot be read.
            RecipeError: there are fewer texts than asked for.
        """
        if name in SETS:
            split = self.source.split(name)
            halves = [
                [encoder(example, example.truthful[:1])[0] for example in self._draw(name, examples, count)]
                for examples, count in ((split.train, self.measured), (split.evaluation, self.judged))
            ]
        else:
            texts = _TEXTS[name](encoder.tokenizer, self.source.root)
            half = len(texts) // 2
            halves = [self._draw(name, texts[:half], self.measured), self._draw(name, texts[half:], self.judged)]
        shown = [text.ids if name == _WIKITEXT else text.prompt for text in halves[0]]
        return Domain(name, shown, halves[1])

    def _draw(self, name: str, texts: Sequence[T], count: int) -> list[T]:
        if len(texts) < count:
            raise RecipeError(f"{name}: it has {len(texts)} texts for a part of which {count} are asked for")
        return random.Random(f"{self.seed}:{name}").sample(list(texts), count)


def text_losses(
    model: PreTrainedModel, encoder: Encoder, domain: Domain, token_budget: int
) -> tuple[list[float], float]:
    """Return what the model is worth in a domain.

    Returns:
        The cross-entropy of each judged text's answer in nats a token, and the share of the answers that greedy
        decoding would write.

    Raises:
        ModelError: a log-probability is NaN.
    """
    scorer = AnswerScorer(model, encoder, token_budget, share_prompts=False)
    scores = scorer.score_sequences(domain.judged, domain.name)
    return [-score.per_token for score in scores], sum(score.greedy for score in scores) / len(scores)


def draw_pairs(name: str, root: str | None, count: int, seed: int) -> list[SentencePair]:
    """Draw pairs of sentences of one set.

    Raises:
        DataError: see `load_sentence_pairs`.
        RecipeError: there are fewer than `count`.
    """
    pairs = load_sentence_pairs(name, root)
    require(count <= len(pairs), "--sentence_pairs", count, f"at most the {len(pairs)} of {name}")
    return random.Random(f"{seed}:{name}").sample(pairs, count)
