"""Add wrong answers to examples that have too few: those of similar questions, or a model's own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from data.answers import ARTICLES, answer_forms, is_same_answer, overlaps_answer
from data.errors import DataError
from data.examples import Example, Origin, normalise_question, wrong_answers

# Enough that some have another answer, few enough that they still resemble the question.
_NEIGHBOURS = 20


def with_similar_answers(examples: list[Example], pool: list[Example], count: int, seed: int) -> list[Example]:
    """Top up each example to `count` wrong answers with the true answers to similar questions.

    Similarity is the cosine of TF-IDF over words and word pairs, so that "who wrote ..." meets "who wrote ...". The
    answers are drawn from the twenty nearest questions. An answer that is right by any alias is never drawn.

    Args:
        examples: the questions to top up; those with `count` wrong answers stay as they are.
        pool: the examples to draw from.
        count: the number of wrong answers. An example gets fewer if its neighbours have fewer.
        seed: the seed of the draw, together with the text of the question.

    Raises:
        DataError: a question would have no wrong answer at all.
    """
    lacking = [example for example in examples if len(example.hallucinated) < count]
    if not lacking:
        return examples
    neighbours = _nearest(lacking, pool)
    topped_up = iter([_top_up(e, near, count, seed) for e, near in zip(lacking, neighbours, strict=True)])
    return [next(topped_up) if len(example.hallucinated) < count else example for example in examples]


def _nearest(examples: list[Example], pool: list[Example]) -> list[list[Example]]:
    if not pool:
        first = examples[0]
        raise DataError(f"{first.dataset}: there is no other question, so none similar to {first.question!r}")
    pool = sorted(
        pool, key=lambda example: (example.conversation, example.truthful)
    )  # so that ties do not depend on it
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    vectors = vectorizer.fit_transform([example.conversation for example in pool])
    index = NearestNeighbors(n_neighbors=min(len(pool), _NEIGHBOURS + 1), metric="cosine").fit(vectors)
    questions = vectorizer.transform([example.conversation for example in examples])
    return [[pool[i] for i in row] for row in index.kneighbors(questions, return_distance=False)]


def _top_up(example: Example, neighbours: list[Example], count: int, seed: int) -> Example:
    own = normalise_question(example.conversation)
    candidates = [n.truthful[0] for n in neighbours if normalise_question(n.conversation) != own]
    random.Random(f"{seed}:{example.conversation}").shuffle(candidates)
    added = _wrong_and_new(example, candidates)[: count - len(example.hallucinated)]
    topped_up = _with_answers(example, added, "similar")
    if not topped_up.hallucinated:
        raise DataError(f"{example.dataset}: no similar question has another answer than {example.question!r}")
    return topped_up


def with_model_answers(
    examples: list[Example], count: int, generate: Callable[[Sequence[Example]], list[list[str]]]
) -> list[Example]:
    """Give each example without wrong answers up to `count` that a model wrote.

    Args:
        generate: returns the answers that a model gives to each example, right and wrong alike.
    """
    lacking = [example for example in examples if not example.hallucinated]
    if not lacking or not count:
        return examples
    written = iter(
        [
            _with_answers(example, _wrong_and_new(example, answers)[:count], "model")
            for example, answers in zip(lacking, generate(lacking), strict=True)
        ]
    )
    return [example if example.hallucinated else next(written) for example in examples]


def _wrong_and_new(example: Example, candidates: Sequence[str]) -> list[str]:
    found: list[str] = []
    for candidate in candidates:
        known = is_same_answer(candidate, (*example.hallucinated, *found))
        says_something = any(set(form.split()) - ARTICLES for form in answer_forms(candidate))
        if says_something and not known and not overlaps_answer(candidate, example.aliases):
            found.append(candidate)
    return found


def _with_answers(example: Example, answers: list[str], origin: Origin) -> Example:
    return replace(example, wrong_answers=(*example.wrong_answers, *wrong_answers(answers, origin)))
