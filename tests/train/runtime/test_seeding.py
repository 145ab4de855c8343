"""Streams of random numbers do not touch each other."""

import pytest
import torch

from train.runtime.seeding import random_stream


def test_a_stream_repeats_and_leaves_the_numbers_outside_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    drawn = []
    for seed in (1, 1, 2):
        with random_stream(seed):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.rand(2), expected)


def test_an_error_inside_leaves_the_numbers_outside_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with pytest.raises(RuntimeError), random_stream(1):
        torch.rand(3) @ torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
