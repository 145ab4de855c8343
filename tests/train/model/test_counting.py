"""FLOPs of passes, told to a clock by the modules that compute."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch
from transformers import PreTrainedModel

from eavss.blocks import capture_block_input, find_blocks
from eavss.costs import forward_costs
from tests.toys import tiny_model
from train.model import counting
from train.model.counting import count_passes
from train.runtime.stages import StageClock

IDS = torch.tensor([[3, 4, 5], [6, 7, 8]])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[StageClock]:
    made = StageClock()
    monkeypatch.setattr(counting, "clock", made)
    with made.stage("here"):
        yield made


def counted(clock: StageClock) -> float:
    return clock.figures()["here"].get("flops", 0.0)


def test_a_pass_costs_what_the_costs_say_whatever_the_kind(model: PreTrainedModel, clock: StageClock) -> None:
    model.eval()
    costs = forward_costs(model)
    count_passes(model)
    with torch.no_grad():
        model(input_ids=IDS)
    assert counted(clock) == pytest.approx(costs.reading(6, 6))


class _StopError(Exception):
    """Ends a pass."""


def test_blocks_that_a_pass_does_not_reach_cost_nothing(clock: StageClock) -> None:
    model = tiny_model("llama").eval()
    costs = forward_costs(model)
    count_passes(model)

    def stop(_states: torch.Tensor) -> None:
        raise _StopError

    with torch.no_grad(), suppress(_StopError), capture_block_input(find_blocks(model), 2, stop):
        model(input_ids=IDS)
    assert counted(clock) == pytest.approx(6 * sum(costs.blocks[:2]))


def test_training_is_left_to_its_plan(clock: StageClock) -> None:
    model = tiny_model("llama")
    count_passes(model)
    model.train()
    model(input_ids=IDS).logits.sum().backward()
    assert counted(clock) == 0.0
