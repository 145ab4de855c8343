"""Active parameters, against plain autograd on a tiny model."""

import pytest
import torch

from eavss.activity import activity_differences
from eavss.blocks import find_blocks
from tests.eavss.test_gradients import one_batch
from tests.toys import BLOCKS, naive_logprobs, tiny_model


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_active_parameters_are_those_of_plain_autograd(kind: str) -> None:
    paired = one_batch()
    found = activity_differences(tiny_model(kind), paired)[2]
    model = tiny_model(kind)
    blocks = find_blocks(model)
    patterns = []
    for hallucinated in (False, True):
        model.zero_grad()
        rows = ((paired.question == 2) & (paired.hallucinated == hallucinated)).nonzero().flatten().tolist()
        for row in rows:
            places = paired.batch.answer_mask[row].nonzero().flatten().tolist()
            ids = paired.batch.input_ids[row][: places[-1] + 1].tolist()
            naive_logprobs(model, ids, places[0], places[-1] + 1).sum().backward()  # type: ignore[no-untyped-call]
        by_block = [
            torch.cat([(m.weight * m.weight.grad).abs().flatten() for m in blocks.linear_modules(layer).values()])  # type: ignore[operator, union-attr]
            for layer in range(BLOCKS)
        ]
        patterns.append([each / sum(block.sum() for block in by_block) for each in by_block])
    expected = [float((a - b).abs().sum() / (a + b).sum()) for a, b in zip(*patterns, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    assert all(0 < value < 1 for value in expected)


def test_the_weights_are_left_as_they_were() -> None:
    model = tiny_model("llama")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    first = activity_differences(model, one_batch())
    model.requires_grad_(False)
    assert torch.equal(activity_differences(model, one_batch()), first)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert not parameter.requires_grad
        assert parameter.grad is None
