"""Linear probes, on states whose answer is known."""

import pytest
import torch

from eavss.confidence import Confidence
from eavss.probes import fit_probe, probe_accuracy, probe_auroc
from eavss.reliability import auroc


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


@pytest.mark.parametrize("seed", range(3))
def test_a_probe_and_a_likelihood_that_know_different_things_know_more_together(seed: int) -> None:
    """Half of what makes an answer right is in block 1, the other half in the first likelihood."""
    generator = torch.Generator().manual_seed(seed)
    hidden, told, noise = torch.randn(3, 300, generator=generator)
    right = (hidden + told + 0.3 * noise > 0.5).tolist()
    states = torch.randn(300, 2, 20, generator=generator)
    states[:, 1, 4] = 2 * hidden
    likelihoods = torch.stack([told, torch.randn(300, generator=generator)], 1).tolist()
    nothing, something = probe_auroc(states, likelihoods, right)
    assert 0.35 < nothing.auroc < 0.65
    assert nothing.gain[0] < 0 < nothing.gain[1] + 0.02
    assert something.interval[0] < something.auroc < something.interval[1]
    assert something.combined > something.auroc + 0.05
    assert something.gain[0] > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_probe_gives_unseen_answers_what_cross_validation_promised(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden, told, noise = torch.randn(3, 800, generator=generator)
    right = (hidden + told + 0.3 * noise > 0.5).tolist()
    states = torch.randn(800, 3, 20, generator=generator)
    states[:, 1, 4] += 2 * hidden
    confidences = [Confidence(float(value), 0.0, -1.0, -float(n % 2)) for n, value in enumerate(told)]
    fitted = fit_probe(states[:400], [5, 7, 9], confidences[:400], right[:400])
    assert fitted.probe.layer == 7
    unseen = [fitted.probe(state[1], each) for state, each in zip(states[400:], confidences[400:], strict=True)]
    promised, found = auroc(fitted.confidences, right[:400]), auroc(unseen, right[400:])
    told_alone = auroc([each.summed for each in confidences[400:]], right[400:])
    assert found == pytest.approx(promised, abs=0.05)
    assert (found or 0.0) > (told_alone or 1.0) + 0.05
