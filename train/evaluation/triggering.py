"""Answer triggering (Yang et al., 2015): give the sentence that answers a question, or none where none does."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from data.examples import Example
from data.wikiqa import Candidates
from train.evaluation.likelihood import AnswerScorer

By = Literal["likelihood", "declining"]


class Best(NamedTuple):
    """The sentence that a question would be answered with.

    Args:
        score: its score; the higher, the surer.
        right: whether it answers the question.
        answerable: whether any sentence does.
    """

    score: float
    right: bool
    answerable: bool


class Triggering(TypedDict):
    """What a threshold on the scores does.

    Args:
        threshold: the score from which on a sentence is given.
        precision: the share of the sentences given that answer their question.
        recall: the share of the answerable questions that are given a sentence that answers them.
        f1: their harmonic mean.
    """

    threshold: float
    precision: float
    recall: float
    f1: float


def best_sentences(
    scorer: AnswerScorer, asked: Sequence[Candidates], by: By, wordings: Sequence[str], description: str
) -> list[Best]:
    """Find the sentence that a model would answer each question with.

    Args:
        scorer: the model; its encoder poses questions and shows passages.
        asked: the questions.
        by: `likelihood`: the sentence's log-probability after the question, a character. `declining`: the negative
            log-probability of declining where the sentence is the passage.
        wordings: ways to decline.
    """
    sentences = [[*each.right, *each.wrong] for each in asked]
    # The sentences of a question are compared with each other, so they are examples of one question.
    questions = [Example("wikiqa", each.question, tuple(texts)) for each, texts in zip(asked, sentences, strict=True)]
    if by == "likelihood":
        scores = iter(_likelihoods(scorer, questions, description))
    else:
        scores = iter(_not_declining(scorer, questions, wordings, description))
    found = []
    for each, texts in zip(asked, sentences, strict=True):
        of_question = [next(scores) for _ in texts]
        place = int(np.argmax(of_question))
        found.append(Best(of_question[place], place < len(each.right), bool(each.right)))
    return found


def _likelihoods(scorer: AnswerScorer, questions: Sequence[Example], description: str) -> list[float]:
    sequences = list(chain(*(scorer.encoder(question, question.truthful) for question in questions)))
    texts = chain(*(question.truthful for question in questions))
    scored = scorer.score_sequences(sequences, description)
    return [one.total / len(text) for one, text in zip(scored, texts, strict=True)]


def _not_declining(
    scorer: AnswerScorer, questions: Sequence[Example], wordings: Sequence[str], description: str
) -> list[float]:
    shown = [replace(question, support=text) for question in questions for text in question.truthful]
    sequences = list(chain(*(scorer.encoder(example, wordings) for example in shown)))
    totals = np.array([each.total for each in scorer.score_sequences(sequences, description)])
    declining: list[float] = np.logaddexp.reduce(totals.reshape(len(shown), len(wordings)), axis=1).tolist()
    return [-value for value in declining]


def at_threshold(found: Sequence[Best], threshold: float) -> Triggering:
    """Return what a threshold does; 0 where nothing is given, or nothing can be."""
    given = [best for best in found if best.score >= threshold]
    right, answerable = sum(best.right for best in given), sum(best.answerable for best in found)
    precision = right / len(given) if given else 0.0
    recall = right / answerable if answerable else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"threshold": threshold, "precision": precision, "recall": recall, "f1": f1}


def best_threshold(found: Sequence[Best]) -> float:
    """Return the score of `found` with the highest F1 as a threshold, the highest such one."""
    scores = sorted({best.score for best in found}, reverse=True)
    return max(scores, key=lambda score: at_threshold(found, score)["f1"])
