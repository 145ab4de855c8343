"""What the base answers to its training questions, and which of these answers it should give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from data.examples import Example
from train.evaluation.answered import Judged
from train.evaluation.free_answers import FreeAnswer, FreeAnswers, rule_of
from train.evaluation.probing import FEWEST_TO_PROBE, fit_answers, is_attempt, judge_with_states, probe_layers
from train.recipe.settings import Labels
from train.runtime.distributed import on_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json_lines
from train.runtime.records import read_records


class _Row(TypedDict):
    """A line of `own_answers.jsonl`."""

    question: str
    dataset: str
    answer: str
    right: bool
    known: bool | None


@dataclass(frozen=True)
class OwnAnswer:
    """The base's own answer to a training question.

    Args:
        example: the question.
        text: the answer; where `train.declining.passages` wants another one, a right answer of the set.
        right: whether the judge finds the base's answer right.
        known: whether the model should give it; None where that is uncertain, and nothing is learnt from it.
    """

    example: Example
    text: str
    right: bool
    known: bool | None


def own_answers(free: FreeAnswers, examples: Sequence[Example], labels: Labels) -> list[OwnAnswer]:
    """Let the base answer the training questions, and say which of its answers it should give.

    Questions of sets without a rule to judge free answers are left out, and so are answers that decline or are empty.

    Args:
        free: poses the questions to the base, which carries no adapter.
        examples: training questions.
        labels: `judged`: it should give those that the judge finds right. `probe`: those whose odds of being right are
            at least twice their set's by a probe of the base's state on the answer, cross-validated, and not those
            whose odds are below their set's. A right guess is not known, and to decline it teaches more.

    Raises:
        RecipeError: no question can be asked freely, all answers are right or all wrong, or too few are for a probe.
    """
    asked = [example for example in examples if rule_of(example) is not None]
    if not asked:
        raise RecipeError("decline_weight: no training question can be asked freely; it should be 0")
    answers = free(asked, "answering the training questions")
    judged = judge_with_states(free, asked, answers, probe_layers(free.model) if labels == "probe" else [])
    tried = [each for each in zip(asked, answers, judged, strict=True) if is_attempt(each[2])]
    right = [verdict.verdict == "right" for *_, verdict in tried]
    if all(right) or not any(right):
        raise RecipeError(
            f"decline_weight: {sum(right)} of the base's {len(right)} answers to training questions are right, so that "
            "nothing tells what it knows; it should be 0"
        )
    known = right if labels == "judged" else _probed(tried, right)
    return [
        OwnAnswer(example, answer.text, is_right, is_known)
        for (example, answer, _), is_right, is_known in zip(tried, right, known, strict=True)
    ]


def _probed(tried: Sequence[tuple[Example, FreeAnswer, Judged]], right: Sequence[bool]) -> list[bool | None]:
    """Return which answers a probe holds to be known, and which not; None for those in between."""
    fitted = fit_answers([verdict for *_, verdict in tried])
    if fitted is None:
        raise RecipeError(
            f"decline_labels: probe needs {FEWEST_TO_PROBE} right and as many wrong answers to training questions, and "
            f"{sum(right)} of the base's {len(right)} answers are right; it should be judged"
        )
    sets = [example.dataset for example, *_ in tried]
    found: list[bool | None] = [None] * len(tried)
    for name in dict.fromkeys(sets):
        members = [i for i, own in enumerate(sets) if own == name]
        # One more of each kind, so that a set without right answers has odds too.
        of_set = sum(right[i] for i in members) + 1
        odds = math.log(of_set / (len(members) + 2 - of_set))
        for i in members:
            above = fitted.confidences[i] - odds
            found[i] = True if above >= math.log(2) else False if above < 0 else None
    return found


@on_main_process
def write_own_answers(folder: Path, answers: Sequence[OwnAnswer], passages: bool = False) -> None:
    """Write `own_answers.jsonl`, with the passages where they were shown, and say how many answers are right."""
    right = sum(answer.right for answer in answers)
    taught = [[answer.known for answer in answers].count(known) for known in (True, False)]
    say(f"{right} of the base's {len(answers)} answers to training questions are right ({right / len(answers):.1%})")
    say(f"to be answered: {taught[0]}; to be declined: {taught[1]}")
    rows = (
        {
            "question": answer.example.question,
            "dataset": answer.example.dataset,
            "answer": answer.text,
            "right": answer.right,
            "known": answer.known,
            **({"passage": answer.example.support} if passages else {}),
        }
        for answer in answers
    )
    write_json_lines(folder / "own_answers.jsonl", rows)


def read_verdicts(path: Path) -> dict[tuple[str, str], bool]:
    """Read an `own_answers.jsonl`, and return whether each answer is right, by set and question.

    Raises:
        RecipeError: the file is missing, or another one.
    """
    try:
        return {(row["dataset"], row["question"]): row["right"] for row in read_records(path, _Row)}
    except ValueError as error:
        raise RecipeError(f"{path} does not hold a run's own answers; decline_weight writes them: {error}") from None
