"""When two answers are the same answer."""

import re
import string
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def without_case_and_punctuation(answer: str) -> str:
    """Lower-case, without ASCII punctuation: lm-evaluation-harness's rule for exact match."""
    return answer.lower().translate(_PUNCTUATION)


def normalise_answer(answer: str) -> str:
    """Lower-case, without punctuation, articles and extra spaces: SQuAD's rule (Rajpurkar et al., 2016), which
    TriviaQA and NQ-open use too."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def is_same_answer(answer: str, aliases: Iterable[str]) -> bool:
    """Whether `answer` and one of `aliases` are one answer: equal once normalised, or one's words inside the other's.

    Containment counts ("Paris" in "Paris, France"), because this decides what may serve as a *wrong* answer: there a
    truth let in by mistake harms more than a wrong answer left out.
    """
    words = f" {normalise_answer(answer)} "
    return any(
        alias and (f" {alias} " in words or (words.strip() and words in f" {alias} "))
        for alias in map(normalise_answer, aliases)
    )
