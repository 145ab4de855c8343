"""What a run will cost is counted before it starts."""

from pathlib import Path

import pytest

from eavss.selectors import Selection
from tests.toys import arguments, toy_setup
from train.plan import cached_block, pair_costs, pairs_in_run, pairs_in_step


def test_a_step_takes_its_pairs_and_its_texts(tmp_path: Path) -> None:
    args, _ = arguments(tmp_path)
    costs = toy_setup(args).costs
    one = costs.step([2], 1, cached=True, micro_batches=0)
    assert costs.step([2], 3, cached=True, micro_batches=0) == pytest.approx(3 * one)
    assert costs.replayed == 0
    # No text is replayed, but each micro-batch reads what the prompts begin with.
    of_preamble = costs.step([2], 0, cached=True)
    assert costs.preamble > 0
    assert 0 < of_preamble < one
    assert costs.step([2], 3, cached=True, micro_batches=5) == pytest.approx(3 * one + 5 * of_preamble)


def test_selected_blocks_cost_less_than_all_and_a_cache_less_than_none(tmp_path: Path) -> None:
    args, training = arguments(tmp_path, "--max_steps", "10")
    plan = toy_setup(args).plan(Selection((2, 3), "last"), training)
    assert plan.cached_at == 2
    assert plan.cache_bytes > 0
    assert plan.step_flops < plan.all_blocks_step_flops
    without, _ = arguments(tmp_path, "--prefix_cache_gb", "0")
    uncached = toy_setup(without).plan(Selection((2, 3), "last"), training)
    assert uncached.cached_at is None
    assert plan.step_flops < uncached.step_flops < plan.all_blocks_step_flops
    figures = plan.flops_of(10)
    assert figures["flops"] == plan.reading_flops + 10 * plan.step_flops
    assert figures["all_blocks_flops"] == plan.reading_flops + 10 * plan.all_blocks_step_flops


def test_nothing_is_cached_below_block_0_or_on_a_small_disk(tmp_path: Path) -> None:
    setup = toy_setup(arguments(tmp_path)[0])
    costs = setup.costs
    assert cached_block(setup.model, Selection((0, 2), "layers"), costs, 1e9) is None
    assert cached_block(setup.model, Selection((2,), "layers"), costs, 10) is None
    assert cached_block(setup.model, Selection((2,), "layers"), costs, 1e9) == 2


def test_the_plan_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args, training = arguments(tmp_path, "--max_steps", "10")
    for blocks, words in (((2, 3), "block-input cache: "), ((0, 1), "no block-input cache: block 0 is selected")):
        toy_setup(args).plan(Selection(blocks, "layers"), training).announce(1.0)
        printed = capsys.readouterr().out
        assert "a step of 8 pairs" in printed
        assert words in printed


def test_fixed_steps_fix_the_pairs(tmp_path: Path) -> None:
    words = ("--per_device_train_batch_size", "3", "--gradient_accumulation_steps", "2")
    _, fixed = arguments(tmp_path, *words, "--max_steps", "5")
    _, epochs = arguments(tmp_path, *words, "--num_train_epochs", "2")
    assert (pairs_in_step(fixed), pairs_in_run(fixed), pairs_in_run(epochs)) == (6, 30, None)


def test_shared_prompts_are_counted_once(tmp_path: Path) -> None:
    packed = toy_setup(arguments(tmp_path)[0]).costs
    unpacked = toy_setup(arguments(tmp_path, "--pack_answers", "false")[0]).costs
    assert packed.tokens < unpacked.tokens
    assert packed.predicted == unpacked.predicted
    assert pair_costs.__doc__
