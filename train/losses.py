"""The terms of the loss: pure functions of log-probabilities and states, and the one table that lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

# A float32 copy of so many rows' logits fits a processor's cache.
_ROWS = 8


def cross_entropy(logprobs: Tensor, sequence: Tensor, count: int) -> Tensor:
    """Return the mean negative log-probability of each sequence's tokens, (S,) in nats a token.

    A sequence without tokens gets NaN.

    Args:
        logprobs: (N,) log-probabilities of tokens in nats: those of an answer, and that of its end-of-sequence.
        sequence: (N,) integers, the number of the sequence that each token belongs to.
        count: S, the number of sequences.
    """
    totals = logprobs.new_zeros(count).index_add(0, sequence, logprobs)
    return -totals / torch.bincount(sequence, minlength=count)


def dpo(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float) -> Tensor:
    """Return the DPO loss (Rafailov et al., 2023, equation 7), the mean over B pairs.

    -log sigmoid(beta * (chosen - reference_chosen - rejected + reference_rejected))

    Args:
        chosen, rejected: (B,) log-probabilities of whole answers, summed over tokens.
        reference_chosen, reference_rejected: (B,) the same with the adapter off.
        beta: how strongly the model is held to the reference.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin).mean()


def declining(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the log loss of the choice between an own answer and declining, the mean over B pairs.

    -log sigmoid(chosen - rejected): the odds of answering are those of the two sequences. It is DPO's loss with beta 1
    and without a reference, since what the base prefers is to be unlearnt (docs/method.md).

    Args:
        chosen, rejected: (B,) log-probabilities summed over tokens: of an own answer that is right and of declining, or
            of declining and of an own answer that is wrong.
    """
    nothing = torch.zeros_like(chosen)
    return dpo(chosen, rejected, nothing, nothing, beta=1.0)


def infonce(anchors: Tensor, positives: Tensor, hallucinated: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE over cosine similarities (van den Oord et al., 2018), the mean over blocks and anchors.

    Every hallucinated answer of the batch is a negative, the same question's included.

    Args:
        anchors: (L, P, H) mean states of a truthful answer to each of P questions, at L blocks.
        positives: (L, P, H) mean states of another truthful answer to the same questions.
        hallucinated: (L, B, H) mean states of the batch's hallucinated answers.
        temperature: tau, which divides the similarities.
    """
    states = (anchors, positives, hallucinated)
    anchors, positives, hallucinated = (F.normalize(each.float(), dim=-1) for each in states)
    positive = (anchors * positives).sum(-1, keepdim=True)  # (L, P, 1)
    negatives = anchors @ hallucinated.transpose(1, 2)  # (L, P, B)
    logits = torch.cat([positive, negatives], dim=-1) / temperature  # (L, P, 1 + B)
    return -F.log_softmax(logits, dim=-1)[..., 0].mean()


def divergence(base: Tensor, model: Tensor) -> Tensor:
    """Return KL(base || model) between next-token distributions in nats, the mean over N positions.

    Args:
        base, model: (N, V) logits; the base's carry no gradient.
    """
    return cast(Tensor, _Divergence.apply(base, model)).mean()


class _Divergence(torch.autograd.Function):
    """KL(base || model) of each row (N,) in float32, without a float32 copy of all logits.

    d KL / d logits = softmax of the model - softmax of the base, which the forward pass keeps in the logits' dtype.
    """

    @staticmethod
    def forward(ctx: Any, base: Tensor, model: Tensor) -> Tensor:
        slopes, found = torch.empty_like(model), []
        for wanted, own, slope in zip(*(each.split(_ROWS) for each in (base, model, slopes)), strict=True):
            base_logp, model_logp = (torch.log_softmax(part, 1, dtype=torch.float32) for part in (wanted, own))
            found.append(F.kl_div(model_logp, base_logp, log_target=True, reduction="none").sum(1))
            if ctx.needs_input_grad[1]:
                slope.copy_(model_logp.exp_().sub_(base_logp.exp_()))
        ctx.save_for_backward(slopes)
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (slopes,) = ctx.saved_tensors
        return None, slopes * grad.to(slopes.dtype).unsqueeze(1)


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term in `TERMS`, and the constants that the terms need.

    Args:
        ce, dpo, infonce, decline, decline_ce, replay: weights. A term of weight 0 is not trained on.
        beta: DPO's beta.
        infonce_temperature: InfoNCE's tau.
    """

    ce: float = 1.0
    dpo: float = 1.0
    infonce: float = 0.0
    decline: float = 0.0
    decline_ce: float = 0.0
    replay: float = 0.0
    beta: float = 0.1
    infonce_temperature: float = 0.1

    def of(self, term: str) -> float:
        """Return the weight of the term with this name."""
        weight: float = getattr(self, term)
        return weight

    def by_name(self) -> dict[str, float]:
        """Return every term's weight by its name."""
        return {term.name: self.of(term.name) for term in TERMS}


@dataclass(frozen=True)
class TermInputs:
    """What the terms are computed from: one forward pass over B pairs, and over a replayed text where there is one.

    Args:
        cross_entropies: (B,) of the truthful answers, or of what `declining` prefers, in nats a token.
        chosen, rejected: (B,) log-probabilities of the truthful and the hallucinated answers, summed over tokens; or
            of what `declining` compares.
        reference_chosen, reference_rejected: (B,) the same under the base.
        states: the arguments `anchors`, `positives` and `hallucinated` of `infonce`; None where no question of the
            batch has two truthful answers.
        replay_logits: the arguments `base` and `model` of `divergence`; None where no text is replayed.
        declines: whether the pairs are those of `declining`.
    """

    cross_entropies: Tensor
    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    states: tuple[Tensor, Tensor, Tensor] | None
    replay_logits: tuple[Tensor, Tensor] | None
    declines: bool = False


def _cross_entropy_term(inputs: TermInputs, _weights: LossWeights) -> Tensor | None:
    return None if inputs.declines else inputs.cross_entropies.mean()


def _dpo_term(inputs: TermInputs, weights: LossWeights) -> Tensor | None:
    if inputs.declines:
        return None
    references = inputs.reference_chosen, inputs.reference_rejected
    return dpo(inputs.chosen, inputs.rejected, *references, beta=weights.beta)


def _infonce_term(inputs: TermInputs, weights: LossWeights) -> Tensor | None:
    return infonce(*inputs.states, temperature=weights.infonce_temperature) if inputs.states else None


def _decline_term(inputs: TermInputs, _weights: LossWeights) -> Tensor | None:
    return declining(inputs.chosen, inputs.rejected) if inputs.declines else None


def _decline_ce_term(inputs: TermInputs, _weights: LossWeights) -> Tensor | None:
    return inputs.cross_entropies.mean() if inputs.declines else None


def _replay_term(inputs: TermInputs, _weights: LossWeights) -> Tensor | None:
    return divergence(*inputs.replay_logits) if inputs.replay_logits else None


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss.

    Args:
        name: the recipe's key is `<name>_weight`, the log's `loss/<name>`.
        label: what pictures and documents call it.
        compute: the term's value, or None where the batch has nothing that it applies to.
        over_pairs: whether the term is a mean over pairs. A batch divided into parts adds each part's mean by the
            part's share of the pairs; the replayed text joins one part, and its term counts once.
    """

    name: str
    label: str
    compute: Callable[[TermInputs, LossWeights], Tensor | None]
    over_pairs: bool = True


TERMS: tuple[LossTerm, ...] = (
    LossTerm("ce", "cross-entropy", _cross_entropy_term),
    LossTerm("dpo", "DPO", _dpo_term),
    LossTerm("infonce", "InfoNCE", _infonce_term),
    LossTerm("decline", "declining", _decline_term),
    LossTerm("decline_ce", "declining's cross-entropy", _decline_ce_term),
    LossTerm("replay", "replay", _replay_term, over_pairs=False),
)


def weighted_sum(values: dict[str, Tensor], weights: LossWeights, share: float) -> Tensor:
    """Return the loss of one part of a batch.

    Args:
        values: the terms' values by name.
        weights: the terms' weights.
        share: the part's share of the batch's pairs.
    """

    def total(over_pairs: bool) -> Tensor | int:
        terms = (term for term in TERMS if term.over_pairs is over_pairs and term.name in values)
        return sum(weights.of(term.name) * values[term.name] for term in terms)

    loss = total(over_pairs=True) * share + total(over_pairs=False)
    assert isinstance(loss, Tensor)
    return loss
