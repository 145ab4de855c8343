"""Measure what fine-tuning cost: perplexity on WikiText-2, the last words of LAMBADA, and sentiment on SST-2.

LAMBADA and SST-2 are posed and tokenised as in lm-evaluation-harness (tasks lambada_openai and sst2, version 1), zero
shots; WikiText-2 is not, see `data.text`. A small model guesses at the harness's question about a phrase of SST-2, and
knows what a review's sentiment is: `sst2_review` asks for that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from data.errors import DataError
from data.text import load_lambada, load_sst2, load_wikitext
from eavss.batches import TokenSequence
from eavss.encoding import encode_as_one
from train.evaluation.likelihood import AnswerScorer

# Tokens in a window of WikiText-2, and the most that are kept of a passage of LAMBADA or a prompt of SST-2. It is not
# the recipe's max_length, so that figures of different recipes can be compared.
WINDOW = 512
WIKITEXT = "wikitext"

# Passages and phrases for each window that `limit` allows: they are short, and an accuracy of few of them is noise.
_PER_WINDOW = 10

SST2_CHOICES = (" negative", " positive")  # in the order of the labels
SST2_PROMPTS = {
    "sst2": "{}\nQuestion: Is this sentence positive or negative?\nAnswer:",
    "sst2_review": "Review: {}\nSentiment:",
}


def measure_retention(
    scorer: AnswerScorer, names: Sequence[str], root: str | None, limit: int | None
) -> dict[str, dict[str, float]]:
    """Return the figures of each text set, in the order of `names`: {"n": windows, passages or phrases, metric: value}.

    - wikitext: `perplexity` a token and `word_perplexity`, over windows of `WINDOW` tokens that do not overlap.
    - lambada: `accuracy`, the share of passages whose last word is what greedy decoding writes, and `perplexity`, of
      the last word: e to the minus mean of its log-probability.
    - sst2, sst2_review: `accuracy`, of the likelier choice by summed log-probability, the first (negative) on a tie.

    Args:
        scorer: its prompt style and max_length have no effect.
        names: among wikitext, lambada, sst2 and sst2_review.
        root: None for the Hub, or a folder in Hub layout: see `data.sources.DataSource`.
        limit: the most windows, the first of the text; of passages and of phrases ten times as many. None for all.

    Raises:
        DataError: a name is none of these, or its set cannot be loaded.
    """
    for name in names:
        if name not in _MEASURES:
            raise DataError(f"{name!r} is none of the sets that show what is retained: {', '.join(_MEASURES)}")
    return {name: _MEASURES[name](scorer, root, limit) for name in names}


def short_texts(limit: int | None) -> int | None:
    """Return how many passages or phrases a limit of windows allows; None for all."""
    return None if limit is None else limit * _PER_WINDOW


def _wikitext(scorer: AnswerScorer, root: str | None, limit: int | None) -> dict[str, float]:
    tokenizer = scorer.encoder.tokenizer
    # The context of a window's first scored token is the token that the tokenizer begins every text with, if it does,
    # since some models (Gemma) are lost without it. Otherwise it is the text's own, which then is not scored.
    begin = [token for token in tokenizer("")["input_ids"][:1] if token == tokenizer.bos_token_id]
    step = WINDOW - len(begin)
    ids: list[int] = tokenizer(load_wikitext(root), add_special_tokens=False, verbose=False)["input_ids"]
    ids = ids if limit is None else ids[: limit * step]
    pieces = [(*begin, *ids[start : start + step]) for start in range(0, len(ids), step)]
    windows = [TokenSequence(piece, 1, len(piece)) for piece in pieces if len(piece) > 1]
    # Windows share a first token at most: to share it would save nothing, and put all of them in one batch.
    scores = replace(scorer, share_prompts=False).score_sequences(windows, "wikitext")
    total, tokens = sum(score.total for score in scores), sum(score.tokens for score in scores)
    text = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    words = len(text.split()) * tokens / len(ids)  # the scored tokens' share of them
    return {"n": len(windows), "perplexity": math.exp(-total / tokens), "word_perplexity": math.exp(-total / words)}


def _lambada(scorer: AnswerScorer, root: str | None, limit: int | None) -> dict[str, float]:
    tokenizer = scorer.encoder.tokenizer
    sequences = [
        encode_as_one(tokenizer, before, word, WINDOW) for before, word in load_lambada(root)[: short_texts(limit)]
    ]
    # One answer a prompt: nothing to share.
    scores = replace(scorer, share_prompts=False).score_sequences(sequences, "lambada")
    return {
        "n": len(scores),
        "accuracy": sum(score.greedy for score in scores) / len(scores),
        "perplexity": math.exp(-sum(score.total for score in scores) / len(scores)),
    }


def _sst2(template: str, scorer: AnswerScorer, root: str | None, limit: int | None) -> dict[str, float]:
    phrases = load_sst2(root)[: short_texts(limit)]
    prompts = [template.format(phrase) for phrase, _ in phrases]
    tokenizer = scorer.encoder.tokenizer
    sequences = [encode_as_one(tokenizer, prompt, choice, WINDOW) for prompt in prompts for choice in SST2_CHOICES]
    totals = [score.total for score in scorer.score_sequences(sequences, "sst2")]
    pairs = zip(totals[::2], totals[1::2], strict=True)
    right = sum((positive > negative) == label for (negative, positive), (_, label) in zip(pairs, phrases, strict=True))
    return {"n": len(phrases), "accuracy": right / len(phrases)}


_MEASURES: dict[str, Callable[[AnswerScorer, str | None, int | None], dict[str, float]]] = {
    WIKITEXT: _wikitext,
    "lambada": _lambada,
    **{name: partial(_sst2, template) for name, template in SST2_PROMPTS.items()},
}
