"""Questions with a passage that does not answer them: that of another question."""

import random
from collections.abc import Sequence
from dataclasses import replace

from data.answers import answer_forms
from data.examples import Example, normalise_question

# Passages that are tried for a question before it is left out.
_TRIES = 20


def with_passages(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that have a passage; all of them where none has one, as in sets without passages."""
    return [example for example in examples if example.support] or list(examples)


def with_other_passages(examples: Sequence[Example], seed: int) -> list[Example | None]:
    """Put another question's passage into each example, one in which none of its answers stands.

    Args:
        examples: questions of one kind; a passage is drawn from all of theirs.
        seed: the seed of the draw, together with the text of the question.

    Returns:
        An example for each, in their order; None where the question has no passage, or no such passage was found.
    """
    passages = {example.support: normalise_question(example.conversation) for example in examples if example.support}
    return [_with_other(example, passages, seed) if example.support else None for example in examples]


def _with_other(example: Example, passages: dict[str, str], seed: int) -> Example | None:
    own = normalise_question(example.conversation)
    drawn = random.Random(f"{seed}:{example.conversation}").sample(list(passages), min(_TRIES, len(passages)))
    for passage in drawn:
        if passages[passage] != own and not _holds_answer(passage, example):
            return replace(example, support=passage)
    return None


def _holds_answer(passage: str, example: Example) -> bool:
    """Return whether one of the example's answers stands in the passage, as the judge compares words."""
    whole = [f" {form} " for form in answer_forms(passage)]
    answers = [form for answer in (*example.truthful, *example.aliases) for form in answer_forms(answer) if form]
    return any(f" {form} " in text for form in answers for text in whole)
