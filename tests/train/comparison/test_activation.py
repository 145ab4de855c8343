"""What a study tries, and what its file may hold."""

import copy
import json
from pathlib import Path

import pytest

from tests.train.comparison.toy_activation import STUDY
from train.comparison.activation import PruneTrial, Study, deep_blocks, prune_trials, read_study, trial_of
from train.runtime.errors import RecipeError

SETTINGS = {"seed": "42"}


def test_every_trial_once() -> None:
    shapes = ("active", "reversed", "shuffled")
    assert prune_trials(["ratios", "calibration"], ["a", "b"], [0.5, 0.5], [0.1, 0.2]) == [
        PruneTrial(),
        PruneTrial(sparsity=0.5),
        *(PruneTrial("magnitude", shape, 0.5, spread) for spread in (0.1, 0.2) for shape in shapes),  # type: ignore[arg-type]
        *(PruneTrial(score, "uniform", 0.5, 0.0, name) for score in ("activation", "wanda") for name in "ab"),  # type: ignore[arg-type]
    ]
    assert prune_trials(["activity", "sentences"], ["a"], [0.5], [0.1]) == []
    assert len(prune_trials(["calibration"], ["a"], [0.5], [0.1])) == 3


def test_figures_name_their_trial() -> None:
    assert [str(trial_of(own)) for own in STUDY["pruned"]] == [
        "50% by activation on a, uniform",
        "whole",
        "50% by magnitude, uniform",
        "50% by magnitude, active (up to 0.1 away)",
        "50% by activation on b, uniform",
    ]


@pytest.mark.parametrize(
    ("blocks", "deep"), [(32, range(16, 30)), (30, range(15, 28)), (4, range(2, 3)), (1, range(1))]
)
def test_the_deep_blocks_are_the_second_half_without_the_last_two(blocks: int, deep: range) -> None:
    assert deep_blocks(blocks) == deep


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    assert read_study(path, SETTINGS, 4)["pruned"] == []
    path.write_text(json.dumps(STUDY))
    assert read_study(path, SETTINGS, 4) == STUDY


def broken(**changed: object) -> Study:
    return {**copy.deepcopy(STUDY), **changed}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "holds no figures of activation"),
        ("[]", "holds no figures of activation"),
        ('{"settings": {}}', "holds no figures of activation"),
        (json.dumps(broken(pruned=[{"score": "magnitude"}])), "an entry has other keys"),
        (json.dumps(broken(pruned=[3])), "pruned.0 is 3, where an object"),
        (json.dumps(broken(settings={"seed": "1"})), "figures with seed 1, here it is 42"),
        (json.dumps(broken(blocks=6)), "figures of a model of 6 blocks, here they are 4"),
    ],
)
def test_another_file_is_refused(content: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(RecipeError, match=what):
        read_study(path, SETTINGS, 4)
    assert path.read_text() == content
