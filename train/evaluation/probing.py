"""Probes of a model's own answers: calibration ships them, and training to decline learns from them."""

from collections.abc import Sequence

import torch
from torch import nn

from data.examples import Example
from eavss.blocks import find_blocks
from eavss.confidence import FittedProbe
from eavss.probes import fit_probe
from train.evaluation.answered import Judged, judge_answers
from train.evaluation.free_answers import FreeAnswer, FreeAnswers

# Of right answers, and of wrong ones, that a probe is fitted on.
FEWEST_TO_PROBE = 20


def probe_layers(model: nn.Module) -> list[int]:
    """Return the blocks that a probe may look at: every second one between 40% and 85% of the depth.

    That is where probes of the embedded model know most of its own answers (docs/results.md).
    """
    total = len(find_blocks(model).modules)
    return list(range(int(0.4 * total), max(int(0.85 * total), int(0.4 * total) + 1), 2))


def judge_with_states(
    free: FreeAnswers, examples: Sequence[Example], answers: Sequence[FreeAnswer], layers: Sequence[int]
) -> list[Judged]:
    """Judge what the model has answered, and read the states of its answers where blocks are named."""
    return judge_answers(examples, answers, free.states(examples, answers, layers) if layers else ())


def is_attempt(answer: Judged) -> bool:
    """Return whether an answer is right or wrong, and neither declined nor empty."""
    return answer.confidence is not None and answer.verdict in ("right", "wrong")


def attempts(answered: Sequence[Judged]) -> list[Judged]:
    """Return the answers that are right or wrong."""
    return [each for each in answered if is_attempt(each)]


def fit_answers(attempted: Sequence[Judged]) -> FittedProbe | None:
    """Fit a probe on `attempts`; None where their states were not read, or too few of them are right or wrong."""
    right = [each.verdict == "right" for each in attempted]
    states = [each.states for each in attempted if each.states is not None]
    if len(states) < len(right) or min(sum(right), len(right) - sum(right)) < FEWEST_TO_PROBE:
        return None
    layers = list(states[0])
    stacked = torch.stack([torch.stack([read[layer] for layer in layers]) for read in states])
    return fit_probe(stacked, layers, [each.confidence for each in attempted if each.confidence], right)
