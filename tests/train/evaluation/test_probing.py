"""Probes of the model's own answers."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from data.judge import Verdict
from eavss.confidence import confidence_of
from train.evaluation.answered import Judged
from train.evaluation.probing import attempts, fit_answers, probe_layers


@pytest.mark.parametrize(("total", "layers"), [(30, [12, 14, 16, 18, 20, 22, 24]), (4, [1]), (2, [0])])
def test_the_blocks_that_a_probe_looks_at(total: int, layers: list[int]) -> None:
    config = LlamaConfig(
        vocab_size=9, hidden_size=4, intermediate_size=4, num_attention_heads=1, num_hidden_layers=total
    )
    assert probe_layers(LlamaForCausalLM(config)) == layers


def judged(verdict: Verdict, number: int) -> Judged:
    """A right answer's state at block 3 stands out, and no likelihood tells it from a wrong one."""
    state = torch.randn(4, generator=torch.Generator().manual_seed(number))
    state[0] += 8 * (verdict == "right")
    return Judged(verdict, confidence_of([-1.0 - number % 7]), {1: torch.zeros(4), 3: state})


def test_attempts_are_right_or_wrong() -> None:
    verdicts: list[Verdict] = ["right", "declined", "wrong", "empty"]
    answered = [judged(verdict, number) for number, verdict in enumerate(verdicts)]
    assert [each.verdict for each in attempts([*answered, Judged("wrong", None)])] == ["right", "wrong"]


def test_a_probe_is_fitted_where_enough_is_known() -> None:
    answered = [judged("right" if number % 2 else "wrong", number) for number in range(40)]
    fitted = fit_answers(answered)
    assert fitted is not None
    assert fitted.probe.layer == 3
    assert min(fitted.confidences[1::2]) > max(fitted.confidences[::2])
    assert fit_answers(answered[:39]) is None, "20 of each are needed"
    assert fit_answers([*answered, Judged("right", confidence_of([-1.0]))]) is None, "a state was not read"
    assert fit_answers([]) is None
