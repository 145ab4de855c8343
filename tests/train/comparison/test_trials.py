"""Trials of selectors on a tiny model; scripts/compare_selectors.py runs whole comparisons."""

import gc
from pathlib import Path

import pytest
import torch
from peft import PeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.comparison import trials as trials_module
from train.comparison.trials import Trials
from train.trainer import ContrastiveTrainer


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


def test_ranks_and_parts_train_as_many_parameters_as_whole_blocks(trials: Trials) -> None:
    whole = trials.run(trials.selection("middle"), 1e-2, {"steps": 2})[0]
    for name in ("ranks:block_influence", "parts"):
        selection = trials.selection(name)
        cell = trials.run(selection, 1e-2, {"steps": 2})[0]
        assert cell["ranks"] == selection.ranks
        assert cell["layers"] == sorted({int(each.partition(".")[0]) for each in cell["ranks"]})
        assert 0.8 * whole["trained_parameters"] <= cell["trained_parameters"] <= whole["trained_parameters"]
    assert "ranks" not in whole


def test_declining_is_worth_its_penalised_score_on_the_set_that_is_asked(saved_model: Path, tmp_path: Path) -> None:
    small = ("--train_questions", "8", "--score_questions", "8", "--eval_limit", "6", "--select_fraction", "0.5")
    terms = ("--decline_ce_weight", "1", "--dpo_weight", "0", "--ce_weight", "0", "--replay_weight", "0")
    shown = ("--passages", "true", "--decline_labels", "passage", "--prompt_style", "plain", "--max_length", "400")
    asked = ("--dataset", "sciq", "--datasets_root", "samples", "--evaluate_on", "sciq", "--question_hidden", "false")
    args, training = arguments(tmp_path, *asked, *terms, *shown, *small, "--seed", "0")
    base = AutoModelForCausalLM.from_pretrained(saved_model, dtype=torch.float32)
    trials = Trials(base, AutoTokenizer.from_pretrained(saved_model), args, training)
    cell = trials.run(trials.selection("all"), 3e-2, {"steps": 4})[0]
    before, after = cell["asked_before"], cell["asked"]
    assert all(pair.declines for pair in trials._setup.pairs)
    assert cell["before"] == pytest.approx(before["right"] - before["wrong"], abs=1e-4)
    assert cell["gain"] == pytest.approx(after["right"] - after["wrong"] - cell["before"], abs=1e-4)


def test_nothing_of_a_trial_stays(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr(trials_module, "release_memory", lambda: released.append(gc.collect()))
    for name in ("last", "middle", "layers:1,3"):
        trials.run(trials.selection(name), 1e-3, {"steps": 1})
    assert len(released) == 3
    gc.collect()
    assert [each for each in gc.get_objects() if type(each) in (ContrastiveTrainer, PeftModelForCausalLM)] == []
