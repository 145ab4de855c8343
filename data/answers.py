"""Decide when two answers are the same answer."""

import re
import string
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def without_case_and_punctuation(answer: str) -> str:
    """Lower the case and drop ASCII punctuation: the rule of lm-evaluation-harness for exact match."""
    return answer.lower().translate(_PUNCTUATION)


def normalise_answer(answer: str) -> str:
    """Lower the case and drop punctuation, articles and extra spaces.

    This is SQuAD's rule (Rajpurkar et al., 2016), which TriviaQA and NQ-open use too.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def is_same_answer(answer: str, aliases: Iterable[str]) -> bool:
    """Return whether `answer` equals one of `aliases` once normalised, or holds its words, or is held by it.

    Containment counts ("Paris" in "Paris, France"), because this decides what may serve as a *wrong* answer. There a
    true answer that is let in by mistake does more harm than a wrong answer that is left out.
    """
    words = f" {normalise_answer(answer)} "
    return any(
        alias and (f" {alias} " in words or (words.strip() and words in f" {alias} "))
        for alias in map(normalise_answer, aliases)
    )
