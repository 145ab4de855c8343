"""What the base answers with a passage that answers the question, and with one that does not."""

from collections.abc import Sequence

from data.examples import Example
from data.passages import with_other_passages
from train.declining.own_answers import OwnAnswer
from train.evaluation.answered import judge_answers
from train.evaluation.free_answers import FreeAnswers, rule_of
from train.runtime.errors import RecipeError


def answers_by_passage(free: FreeAnswers, examples: Sequence[Example], seed: int) -> list[OwnAnswer]:
    """Let the base answer each question twice, with its own passage and with another question's.

    With its own passage it should give its answer where that is right, and elsewhere a right one. With another it
    should decline instead of what it says, unless that is right even so.

    Args:
        free: poses the questions to the base, which carries no adapter, and shows passages.
        examples: training questions; those without a passage are left out.
        seed: the seed of the other passages.

    Raises:
        RecipeError: fewer than two questions have a passage and a rule to judge free answers.
    """
    shown = [example for example in examples if example.support and rule_of(example) is not None]
    if len(shown) < 2:
        raise RecipeError(
            f"decline_labels: {len(shown)} training questions have a passage and can be asked freely; passage needs two"
        )
    other = [example for example in with_other_passages(shown, seed) if example is not None]
    return [*_with_own(free, shown), *_with_other(free, other)]


def _with_own(free: FreeAnswers, examples: Sequence[Example]) -> list[OwnAnswer]:
    answers = free(examples, "answering with the question's passage")
    found = []
    for example, answer, judged in zip(examples, answers, judge_answers(examples, answers), strict=True):
        right = judged.verdict == "right"
        found.append(OwnAnswer(example, answer.text if right else example.truthful[0], right, True))
    return found


def _with_other(free: FreeAnswers, examples: Sequence[Example]) -> list[OwnAnswer]:
    answers = free(examples, "answering with another passage")
    judged = judge_answers(examples, answers)
    return [
        OwnAnswer(example, answer.text, verdict == "right", None if verdict == "right" else False)
        for example, answer, (verdict, *_) in zip(examples, answers, judged, strict=True)
        if verdict in ("right", "wrong")
    ]
