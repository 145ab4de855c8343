"""Calibration on questions that were neither trained on nor evaluated, with a double of the model that answers."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from data.examples import Example, normalise_question
from data.judge import Verdict
from data.places import SAMPLES
from data.sources import DataSource
from eavss.asking import FEW_SHOT
from eavss.confidence import KINDS, Calibration, Confidence
from eavss.errors import EavssError
from train.evaluation.answered import Judged, judge_answers
from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.calibration import (
    POOLED,
    answer_evaluated,
    aurocs,
    calibrate_sets,
    calibration_questions,
    carried,
    carried_table,
    kept_by,
    write_confidence,
)
from train.evaluation.free_answers import FreeAnswer, FreeAnswers
from train.model.kept_figures import KeptFigures
from train.recipe.settings import EvaluationSettings

SOURCE = DataSource("samples")
SETTINGS = EvaluationSettings(("triviaqa", "sciq", "truthfulqa"), SOURCE, limit=2, calibration_questions=10)
TOY = Calibration(
    by="summed",
    auroc=0.75,
    ece=0.1,
    thresholds={"60": -1.0, "80": -2.0, "90": -3.0},
    curve=[],
    asked=4,
    right=2,
    prompt=FEW_SHOT,
    dataset="nq",
    aurocs=dict.fromkeys(KINDS),
)


class Answering:
    """Answers a set's questions in turn as `answers` says, with {} for a right answer; it is surer of the first."""

    def __init__(self, *answers: str, style: str = "plain") -> None:
        self.answers = answers
        self.encoder = SimpleNamespace(prompt_style=style, system="Hm.")
        self.kept = KeptFigures()
        self.asked: list[Example] = []

    def __call__(self, examples: Sequence[Example], description: str) -> list[FreeAnswer]:
        self.asked += examples
        texts = [self.answers[i % len(self.answers)].format(e.truthful[0]) for i, e in enumerate(examples)]
        return [FreeAnswer(t, Confidence(-i, -9.0, -9.0, -9.0) if t else None) for i, t in enumerate(texts, start=1)]


def calibrated(
    answering: Answering, settings: EvaluationSettings = SETTINGS, trained: Sequence[Example] = ()
) -> dict[str, Calibration]:
    return calibrate_sets(cast(FreeAnswers, answering), load_benchmarks(settings, seed=0), settings, trained)


def questions(examples: Sequence[Example]) -> set[str]:
    return {normalise_question(example.question) for example in examples}


def judged(*answers: tuple[Verdict, float | None]) -> list[Judged]:
    return [Judged(verdict, None if value is None else Confidence(value, 0.0, 0.0, 0.0)) for verdict, value in answers]


def test_no_question_is_evaluated_or_trained_on() -> None:
    split = SOURCE.split("triviaqa")
    taken = questions(split.train[::2])
    found = questions(calibration_questions(SOURCE, "triviaqa", 1000, taken))
    assert found == questions(split.train) - taken
    assert not found & questions(SOURCE.evaluation("triviaqa"))


def test_the_questions_are_the_same_at_each_call_and_no_more_than_asked_for() -> None:
    every = calibration_questions(SOURCE, "triviaqa", 1000, set())
    assert calibration_questions(SOURCE, "triviaqa", 7, set()) == every[:7]
    assert calibration_questions(SOURCE, "triviaqa", 0, set()) == []
    without_first = calibration_questions(SOURCE, "triviaqa", 6, questions(every[:1]))
    assert without_first == every[1:7]
    assert every != SOURCE.split("triviaqa").train


def test_questions_of_the_validation_share_are_left_alone() -> None:
    source = replace(SOURCE, validation_share=0.5)
    found = questions(calibration_questions(source, "triviaqa", 1000, set()))
    assert found
    assert not found & questions(source.evaluation("triviaqa"))


def test_each_set_that_is_asked_freely_is_calibrated_and_all_are_pooled() -> None:
    """Of ten questions four get a right answer, two a wrong one, two a refusal, and two none."""
    answering = Answering("{}", "xyzzy", "{}", "I do not know.", "")
    found = calibrated(answering)
    assert list(found) == ["triviaqa", "sciq", POOLED]
    for name, calibration in found.items():
        sets = 2 if name == POOLED else 1
        assert (calibration.dataset, calibration.prompt) == (name, FEW_SHOT)
        assert (calibration.asked, calibration.right) == (10 * sets, 4 * sets)
        assert calibration.thresholds == {"60": -6.0, "80": -8.0, "90": -8.0}  # right ones: -1, -3, -6, -8
        assert calibration.auroc == 0.5  # wrong ones: -2, -7
        assert calibration.curve[-1] == pytest.approx([0.6, 0.2])
    assert [example.dataset for example in answering.asked] == ["triviaqa"] * 10 + ["sciq"] * 10


def test_trained_questions_are_not_asked() -> None:
    answering = Answering("{}", "xyzzy")
    trained = SOURCE.split("sciq").train[:-3]
    settings = replace(SETTINGS, sets=("sciq",))
    assert list(calibrated(answering, settings, trained)) == ["sciq"]  # one set is not pooled
    assert questions(answering.asked) == questions(SOURCE.split("sciq").train[-3:])


def test_under_the_chat_template_no_shots_are_kept() -> None:
    chat = calibrated(Answering("{}", "xyzzy", style="chat"))["sciq"]
    assert (chat.prompt, chat.system) == (None, "Hm.")


@pytest.mark.parametrize("answer", ["xyzzy", "I do not know.", ""])
def test_without_a_right_answer_nothing_is_calibrated(answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrated(Answering(answer)) == {}
    notes = [
        f"note: {name} is not calibrated: none of {n} answers is right"
        for name, n in (("triviaqa", 10), ("sciq", 10), (POOLED, 20))
    ]
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")] == notes


def test_without_the_training_side_a_set_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SAMPLES / "allenai", tmp_path / "allenai")
    folder = Path("mandarjoshi/trivia_qa/rc.nocontext")
    (tmp_path / folder).mkdir(parents=True)
    shutil.copy(SAMPLES / folder / "validation.parquet", tmp_path / folder)
    source = DataSource(str(tmp_path), evaluation_split="validation")
    assert list(calibrated(Answering("{}", "xyzzy"), replace(SETTINGS, sets=("triviaqa", "sciq"), source=source))) == [
        "sciq"
    ]
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: triviaqa is not calibrated: no file")
    assert "train.parquet" in note


def test_calibration_can_be_left_out() -> None:
    benchmarks = load_benchmarks(SETTINGS, seed=0)
    assert calibrate_sets(None, benchmarks, SETTINGS, []) == {}
    answering = Answering("{}")
    assert calibrated(answering, replace(SETTINGS, calibration_questions=0)) == {}
    assert answering.asked == []


ANSWERS = judged(
    ("right", -0.5),
    ("right", -1.5),
    ("right", -2.5),
    ("wrong", -2.0),
    ("wrong", -4),
    ("declined", -0.1),
    ("empty", None),
)


def test_what_a_threshold_keeps() -> None:
    """An answer at the threshold is given; what is declined or empty is no answer, however sure the model is."""
    assert kept_by(TOY, ANSWERS) == {
        "60": {"kept": 1 / 3, "wrong": 0, "answered": 1 / 7},
        "80": {"kept": 2 / 3, "wrong": 1 / 7, "answered": 3 / 7},
        "90": {"kept": 1, "wrong": 1 / 7, "answered": 4 / 7},
    }
    unsure = kept_by(TOY, judged(("wrong", -1.5), ("empty", None)))
    assert unsure["60"] == {"kept": None, "wrong": 0, "answered": 0}
    assert unsure["80"] == {"kept": None, "wrong": 0.5, "answered": 0.5}


def test_each_calibration_is_carried_to_each_set() -> None:
    lax = replace(TOY, thresholds={"80": -9.0}, auroc=None)
    answers = {"nq": ANSWERS, "sciq": judged(("wrong", -1.5))}
    found = carried({"nq": TOY, POOLED: lax}, answers)
    assert {name: list(of_sets) for name, of_sets in found.items()} == {"nq": ["nq", "sciq"], POOLED: ["nq", "sciq"]}
    assert found["nq"]["nq"] == kept_by(TOY, ANSWERS)
    assert found[POOLED]["sciq"] == {"80": {"kept": None, "wrong": 1, "answered": 1}}
    head, *lines = carried_table({"nq": TOY, POOLED: lax}, found).splitlines()
    assert len(lines) == 2 * 3 + 2
    assert head.split() == ["calibrated", "on", "by", "AUROC", "asked", "keep", "kept", "answered", "wrong"]
    assert lines[1].split() == ["nq", "summed", "0.750", "nq", "80%", "0.67", "0.429", "0.143"]
    assert lines[-1].split() == [POOLED, "summed", "-", "sciq", "80%", "-", "1.000", "1.000"]


def test_the_aurocs_are_a_line_for_each_set() -> None:
    some = replace(TOY, aurocs=TOY.aurocs | {"per_token": 0.5})
    assert [line.split() for line in aurocs({"nq": some}).splitlines()] == [
        ["AUROC", *KINDS],
        ["nq", "-", "0.500", "-", "-"],
    ]


@pytest.mark.parametrize(
    ("dataset", "names", "own"),
    [
        ("sciq", ["nq", "sciq", POOLED], "sciq"),
        ("truthfulqa", ["nq", "sciq", POOLED], POOLED),
        ("truthfulqa", ["nq"], "nq"),
    ],
)
def test_the_runs_own_calibration_is_written_first(dataset: str, names: list[str], own: str, tmp_path: Path) -> None:
    calibrations = {name: replace(TOY, dataset=name) for name in names}
    folders = [tmp_path / "run", tmp_path / "run" / "adapter"]
    write_confidence(folders, calibrations, dataset)
    for folder in folders:
        assert Calibration.read(folder) == calibrations[own]
        assert {name: Calibration.read(folder, name) for name in names} == calibrations
        assert list(json.loads((folder / "confidence.json").read_text())["sets"]) == names


def test_without_a_calibration_nothing_is_written(tmp_path: Path) -> None:
    write_confidence([tmp_path], {}, "nq")
    assert list(tmp_path.iterdir()) == []


class Knowing(Answering):
    """At block 7 the first unit of a right answer's state is larger than that of a wrong one's."""

    def states(
        self, examples: Sequence[Example], answers: Sequence[FreeAnswer], layers: Sequence[int]
    ) -> list[dict[int, torch.Tensor] | None]:
        generator = torch.Generator().manual_seed(0)
        found: list[dict[int, torch.Tensor] | None] = []
        for answer in answers:
            states = torch.randn(len(layers), 4, generator=generator)
            states[list(layers).index(7), 0] += 6 * float(answer.text not in ("xyzzy", ""))
            found.append(dict(zip(layers, states, strict=True)) if answer.text else None)
        return found


def test_a_block_that_knows_becomes_the_confidence() -> None:
    answering = Knowing("{}", "xyzzy", "xyzzy", "{}", "")
    settings = replace(SETTINGS, sets=("triviaqa",), calibration_questions=100)
    benchmarks = load_benchmarks(settings, seed=0)
    free = cast(FreeAnswers, answering)
    found = calibrate_sets(free, benchmarks, settings, [], [5, 7])["triviaqa"]
    assert (found.by, found.probe is not None and found.probe.layer) == ("probe", 7)
    assert (found.auroc or 0) > 0.95
    assert f"{found.auroc:13.3f}" in aurocs({"triviaqa": found})
    examples = answering.asked[:20]
    answers = answering(examples, "")
    judged = judge_answers(examples, answers, answering.states(examples, answers, [5, 7]))
    kept = kept_by(found, judged)
    assert (kept["90"]["kept"] or 0) >= 0.75
    assert kept["90"]["wrong"] <= 0.1
    with pytest.raises(EavssError, match="needs the state of block 7"):
        kept_by(found, judge_answers(examples, answers))
    again = answer_evaluated(free, benchmarks, {"triviaqa": found})["triviaqa"]
    assert [list(each.states) for each in again if each.states is not None] == [[7], [7]]
    few = replace(settings, calibration_questions=30)  # 12 right answers
    assert calibrate_sets(free, benchmarks, few, [], [5, 7])["triviaqa"].probe is None
    assert calibrate_sets(free, benchmarks, settings, [])["triviaqa"].probe is None


def test_evaluation_questions_are_answered_where_something_is_calibrated() -> None:
    """States are read for a probe alone, and only the sets that are asked freely are asked."""
    answering = Answering("{}", "xyzzy")
    benchmarks = load_benchmarks(SETTINGS, seed=0)
    found = answer_evaluated(cast(FreeAnswers, answering), benchmarks, {"nq": TOY})
    assert list(found) == ["triviaqa", "sciq"]
    assert [(each.verdict, each.states) for each in found["sciq"]] == [("right", None), ("wrong", None)]
    assert answer_evaluated(None, benchmarks, {"nq": TOY}) == {}
    assert answer_evaluated(cast(FreeAnswers, answering), benchmarks, {}) == {}


def test_conversations_that_open_like_trained_ones_do_not_calibrate(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = []
    for n in range(40):
        turns = [("user", f"who wrote book {n}?"), ("assistant", f"writer {n}"), ("user", "when?")]
        messages = [{"role": role, "content": content} for role, content in turns]
        rows += [{"prompt": messages[:1], "answers": f"writer {n}"}, {"prompt": messages, "answers": f"in {n}"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataSource(evaluation_share=0.5)
    openings = sorted({example.opening for example in source.split(str(path)).train})
    found = calibration_questions(source, str(path), 100, {normalise_question(openings[0])})
    assert sorted({example.opening for example in found}) == openings[1:]
    assert len(found) == 2 * (len(openings) - 1)
