"""A curve is measured after the steps that it names, and its seconds leave measuring out."""

import time
from pathlib import Path
from typing import cast

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.toys import tiny_model
from train.evaluation.retained import Kept, Yardstick
from train.healing.curve import Curve
from train.healing.students import replaced_run_student

ROW: Kept = {
    "set": "nq",
    "metric": "contrast_accuracy",
    "n": 4,
    "whole": 0.8,
    "changed": 0.6,
    "chance": 0.5,
    "kept": 0.75,
    "kept_above_chance": 1 / 3,
}


def curve_of(steps: list[int], measured: list[int] | None, tmp_path: Path) -> Curve:
    def measure(model: object, description: str) -> list[Kept]:
        assert measured is not None
        measured.append(int(description.split()[1]))
        time.sleep(0.2)
        return [ROW]

    student = replaced_run_student(tiny_model("llama"), [1, 2])
    curve = Curve(student, None if measured is None else cast(Yardstick, measure), steps)
    arguments, state, control = TrainingArguments(str(tmp_path)), TrainerState(), TrainerControl()
    curve.on_train_begin(arguments, state, control)
    for step in range(1, 5):
        state.global_step = step
        curve.on_step_end(arguments, state, control)
    return curve


def test_the_named_steps_are_measured(tmp_path: Path) -> None:
    measured: list[int] = []
    curve = curve_of([0, 3, 9], measured, tmp_path)
    assert measured == [0, 3]
    assert [(point["steps"], point["kept"]) for point in curve.points] == [(0, [ROW]), (3, [ROW])]
    assert curve.points[0]["average"] == pytest.approx(0.75)
    assert curve.points[1]["seconds"] < 0.2


def test_without_a_yardstick_nothing_is_measured(tmp_path: Path) -> None:
    assert curve_of([0, 1], None, tmp_path).points == []
