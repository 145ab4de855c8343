"""What the base answers to its training questions, and how likely each answer is to be right."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from data.examples import Example, wrong_answers
from eavss.confidence import confidence_of
from tests.toys import tiny_model
from train.declining.own_answers import OwnAnswer, own_answers, write_own_answers
from train.evaluation.free_answers import FreeAnswer, FreeAnswers
from train.recipe.settings import Labels
from train.runtime.errors import RecipeError

LABELS: tuple[Labels, ...] = ("judged", "probe")


class Base:
    """Answers as `answers` say, in turn; the first unit of a right answer's state is large at every block."""

    def __init__(self, *answers: str) -> None:
        self.model = tiny_model("llama")
        self.answers = answers

    def __call__(self, examples: Sequence[Example], _description: str) -> list[FreeAnswer]:
        texts = [self.answers[i % len(self.answers)].format(e.truthful[0]) for i, e in enumerate(examples)]
        return [FreeAnswer(text, confidence_of([-1.0 - i % 5]) if text else None) for i, text in enumerate(texts)]

    def states(
        self, examples: Sequence[Example], answers: Sequence[FreeAnswer], layers: Sequence[int]
    ) -> list[dict[int, torch.Tensor] | None]:
        found: list[dict[int, torch.Tensor] | None] = []
        for number, (example, answer) in enumerate(zip(examples, answers, strict=True)):
            state = torch.randn(4, generator=torch.Generator().manual_seed(number))
            state[0] += 4 * float(answer.text == example.truthful[0])
            found.append(dict.fromkeys(layers, state) if answer.text else None)
        return found


def questions(count: int, dataset: str = "triviaqa") -> list[Example]:
    return [Example(dataset, f"What is {n}?", (f"answer {n}",), aliases=(f"answer {n}",)) for n in range(count)]


def answered(base: Base, examples: Sequence[Example], labels: Labels = "judged") -> list[OwnAnswer]:
    return own_answers(cast(FreeAnswers, base), examples, labels)


def test_attempts_at_questions_that_can_be_judged_are_kept() -> None:
    ranked = Example("wikiqa", "Who?", ("A man.",), wrong_answers(("A dog.",), "dataset"))
    found = answered(Base("{}", "xyzzy", "I don't know", ""), [*questions(4), ranked])
    assert [(each.text, each.right, each.known) for each in found] == [
        ("answer 0", True, True),
        ("xyzzy", False, False),
    ]


def test_a_probe_tells_what_is_known_from_what_is_guessed() -> None:
    """The state says so in all but a few answers; the rest are uncertain, and are left out."""
    base = Base("{}", "xyzzy", "xyzzy")
    judged, probed = (answered(base, [*questions(60), *questions(45, "nq")], labels) for labels in LABELS)
    assert [each.right for each in judged] == [each.right for each in probed] == [each.known for each in judged]
    known, unknown, uncertain = ([each.right for each in probed if each.known is kind] for kind in (True, False, None))
    assert len(known) > 25
    assert sum(known) / len(known) > 0.9
    assert len(unknown) > 55
    assert sum(unknown) / len(unknown) < 0.05
    assert uncertain


def test_a_probe_compares_an_answer_with_those_of_its_own_set() -> None:
    """Where all answers of a set are as likely to be right, none of them is known, however likely that is."""
    base = Base("{}", "xyzzy")
    easy = [replace(example, dataset="sciq", aliases=("xyzzy", *example.aliases)) for example in questions(60)]
    found = answered(base, [*questions(60), *easy], "probe")
    kinds = [each.known for each in found if each.example.dataset == "sciq"]
    assert sum(each.right for each in found if each.example.dataset == "sciq") == 60
    assert True not in kinds


@pytest.mark.parametrize(
    ("answers", "count", "labels", "message"),
    [
        (
            ("xyzzy",),
            30,
            "judged",
            "decline_weight: 0 of the base's 30 answers to training questions are right, so that nothing tells what it "
            "knows; it should be 0",
        ),
        (
            ("{}", "xyzzy"),
            38,
            "probe",
            "decline_labels: probe needs 20 right and as many wrong answers to training questions, and 19 of the "
            "base's 38 answers are right; it should be judged",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(
    answers: tuple[str, ...], count: int, labels: Labels, message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        answered(Base(*answers), questions(count), labels)
    assert str(error.value) == message


def test_sets_that_nobody_can_judge_are_refused() -> None:
    ranked = Example("truthfulqa", "Why?", ("No.",), wrong_answers(("Yes.",), "dataset"))
    with pytest.raises(RecipeError, match="decline_weight: no training question can be asked freely"):
        answered(Base("{}"), [ranked])


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_own_answers(tmp_path, answered(Base("{}", "nö"), questions(4)))
    printed = capsys.readouterr().out
    assert "2 of the base's 4 answers to training questions are right (50.0%)" in printed
    assert "to be answered: 2; to be declined: 2" in printed
    rows = [json.loads(line) for line in (tmp_path / "own_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"question": "What is 1?", "dataset": "triviaqa", "answer": "nö", "right": False, "known": False}
    assert [row["known"] for row in rows] == [True, False] * 2
    write_own_answers(tmp_path, [OwnAnswer(replace(questions(1)[0], support="It is 7."), "7", True, True)], True)
    assert json.loads((tmp_path / "own_answers.jsonl").read_text(encoding="utf-8"))["passage"] == "It is 7."
