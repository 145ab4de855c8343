"""Selectors by name, and trials of them on a tiny model; scripts/compare_selectors.py runs whole comparisons."""

import pytest

from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.comparison.trials import NamedSelector, Trials, parse_selector
from train.runtime.errors import RecipeError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eavss:contrast", NamedSelector("eavss", form="contrast")),
        ("eavss:conditional", NamedSelector("eavss", form="conditional")),
        ("avss:scale_free", NamedSelector("avss", estimator="scale_free")),
        ("random:7", NamedSelector("random", seed=7)),
        ("layers:3,0,2", NamedSelector("layers", layers=(3, 0, 2))),
        ("middle", NamedSelector("middle")),
    ],
)
def test_a_name_is_read(name: str, expected: NamedSelector) -> None:
    assert parse_selector(name) == expected


@pytest.mark.parametrize("name", ["best", "eavss", "random", "random:x", "layers:", "layers:1-2", "middle:3", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"--selectors: .* should be one of eavss:contrast"):
        parse_selector(name)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    words = (
        "--datasets_root",
        "samples",
        "--evaluate_on",
        "truthfulqa",
        "--eval_limit",
        "6",
        "--select_fraction",
        "0.5",
    )
    small = ("--train_questions", "8", "--score_questions", "8", "--per_device_train_batch_size", "4")
    fixed = ("--question_hidden", "false", "--max_steps", "2")
    args, training = arguments(tmp_path_factory.mktemp("trials"), *words, *small, *fixed)
    return Trials(tiny_model("llama"), tiny_tokenizer(), args, training)


def test_selections_are_those_of_the_selectors(trials: Trials) -> None:
    assert trials.selection("last").blocks == (2, 3)
    assert trials.selection("layers:3,1").blocks == (1, 3)
    assert len(trials.selection("eavss:contrast").blocks) == 2


def test_deeper_blocks_cost_less(trials: Trials) -> None:
    costs = [trials.step_flops(trials.selection(name)) for name in ("last", "middle", "first", "all")]
    assert costs == sorted(costs)
    assert len(set(costs)) == 4


def test_a_budget_of_as_many_steps_has_the_same_gain(trials: Trials) -> None:
    selection = trials.selection("last")
    cells = trials.run(selection, 1e-3, {"steps": 2, "flops": 1, "again": 2})
    steps, flops, again = cells
    assert (steps["steps"], flops["steps"]) == (2, 1)
    assert steps["gains"] == again["gains"]
    assert steps["flops"] - flops["flops"] == pytest.approx(trials.step_flops(selection))
    assert steps["gain"] == pytest.approx(sum(steps["gains"]) / len(steps["gains"]), abs=1e-4)


def test_a_trial_leaves_the_base_as_it_was(trials: Trials) -> None:
    selection = trials.selection("layers:1,3")
    first, second = (trials.run(selection, 1e-2, {"steps": 2})[0] for _ in range(2))
    assert first["gains"] == second["gains"]
    assert (first["layers"], first["learning_rate"]) == ([1, 3], 1e-2)
