"""The terms of the loss: pure functions of log-probabilities and states."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logprobs: Tensor, sequence: Tensor, count: int) -> Tensor:
    """The mean negative log-probability of each sequence's tokens, in nats a token; (S,), NaN for one without tokens.

    Args:
        logprobs: (N,) log-probabilities of tokens, in nats: an answer's, and its end-of-sequence's.
        sequence: (N,) integers, which of the S sequences each belongs to.
        count: S.
    """
    totals = logprobs.new_zeros(count).index_add(0, sequence, logprobs)
    return -totals / torch.bincount(sequence, minlength=count)


def dpo(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta * (chosen - reference_chosen - rejected + reference_rejected)), mean over B (Rafailov et al.,
    2023, eq. 7).

    Args:
        chosen, rejected: (B,) log-probabilities of whole answers, summed over tokens.
        reference_chosen, reference_rejected: (B,) the same with the adapter off.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin).mean()


def infonce(anchors: Tensor, positives: Tensor, hallucinated: Tensor, temperature: float) -> Tensor:
    """-log of the positive's share in the softmax over cosine similarity / temperature (van den Oord et al., 2018).

    Mean over blocks and anchors. Every hallucinated answer of the batch is a negative, the same question's among them.

    Args:
        anchors: (L, P, H) mean states of a truthful answer of P questions, at L blocks.
        positives: (L, P, H) of another truthful answer to the same questions.
        hallucinated: (L, B, H) of the batch's hallucinated answers.
    """
    states = (anchors, positives, hallucinated)
    anchors, positives, hallucinated = (F.normalize(each.float(), dim=-1) for each in states)
    positive = (anchors * positives).sum(-1, keepdim=True)  # (L, P, 1)
    negatives = anchors @ hallucinated.transpose(1, 2)  # (L, P, B)
    logits = torch.cat([positive, negatives], dim=-1) / temperature  # (L, P, 1 + B)
    return -F.log_softmax(logits, dim=-1)[..., 0].mean()


def divergence(base: Tensor, model: Tensor) -> Tensor:
    """KL(base || model) of the next token's distribution, in nats, mean over N positions.

    Args:
        base, model: (N, V) logits; the base's carry no gradient.
    """
    told, wanted = (F.log_softmax(logits.float(), dim=-1) for logits in (model, base))
    return F.kl_div(told, wanted, log_target=True, reduction="batchmean")
