"""Measure a model at chosen steps of its training."""

import time
from collections.abc import Sequence
from typing import TypedDict

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.evaluation.retained import Kept, Yardstick, average_kept
from train.healing.students import Student


class Point(TypedDict):
    """What a model had kept after some steps.

    Args:
        steps, seconds: of training until then, without the time that measuring took.
        average: `train.evaluation.retained.average_kept`.
        kept: each figure.
    """

    steps: int
    seconds: float
    average: float
    kept: list[Kept]


class Curve(TrainerCallback):
    """Measures what a student keeps after some steps, as `points`, and counts the time without that.

    Args:
        student: what is trained.
        measure: None to measure nothing.
        steps: after which; 0 is before the first.
    """

    def __init__(self, student: Student, measure: Yardstick | None, steps: Sequence[int]) -> None:
        self.points: list[Point] = []
        self._student = student
        self._measure = measure
        self._steps = set(steps)
        self._started = 0.0

    @property
    def seconds(self) -> float:
        """How long the model has been trained."""
        return time.perf_counter() - self._started

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._started = time.perf_counter()
        self._point(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._point(state.global_step)

    def _point(self, steps: int) -> None:
        if steps not in self._steps or self._measure is None:
            return
        seconds = self.seconds
        kept = self._measure(self._student.cut(), f"after {steps} steps")
        self.points.append({"steps": steps, "seconds": seconds, "average": average_kept(kept), "kept": kept})
        self._started = time.perf_counter() - seconds
