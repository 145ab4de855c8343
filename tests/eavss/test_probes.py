"""Linear probes, on states whose answer is known."""

import pytest
import torch

from eavss.probes import probe_accuracy


def test_a_probe_finds_a_direction_and_nothing_where_there_is_none() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(60, 2, 2, 12, generator=generator)
    states[:, 1, 1, 3] += 4  # hallucinated answers, block 1
    nothing, clear = probe_accuracy(states)
    assert clear > 0.9
    assert 0.3 < nothing < 0.7


def test_what_tells_a_question_does_not_help() -> None:
    """Each question's two answers have the same state, far from any other's: a probe that saw one knows the other."""
    states = 10 * torch.randn(40, 1, 1, 200, generator=torch.Generator().manual_seed(0)).expand(-1, 2, -1, -1)
    assert probe_accuracy(states) == [pytest.approx(0.5)]


def test_two_questions_are_enough() -> None:
    assert len(probe_accuracy(torch.randn(2, 2, 3, 4))) == 3
