"""Profile a model: what truthful and hallucinated answers do to each of its blocks."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eavss import scores
from eavss.batches import Batch
from eavss.blocks import ONE_LOGIT, capture_block_input, capture_block_outputs, evaluating, find_blocks, require_states
from eavss.errors import EavssError
from eavss.moments import Summary, TokenMoments, cosine_distance_sums, summarise, token_moments
from eavss.records import LayerScores


@dataclass(frozen=True)
class PairedBatch:
    """The answers of some questions as one padded batch. All answers of a question are in the same batch.

    Args:
        batch: B sequences, each a prompt and one answer.
        question: (B,) integers, the number of the question that each sequence belongs to: 0, 1, ... without gaps.
        hallucinated: (B,) booleans, whether the sequence's answer is hallucinated.
        pairs: how many pairs the answers make; None where each truthful answer makes a pair with each hallucinated one
            of its question.
    """

    batch: Batch
    question: Tensor
    hallucinated: Tensor
    pairs: int | None = None


@dataclass(frozen=True)
class LayerProfile:
    """What the scores are computed from, for L blocks, n questions and H hidden units.

    Args:
        states: (n, 2, L, H) float32, the mean states of the answers: [:, 0] truthful, [:, 1] hallucinated. Several
            answers of one kind are averaged within their question.
        all_tokens: moments over every real token, prompts included, (L,) each.
        hallucinated_tokens: moments over the tokens of hallucinated answers, (L,) each.
        pairs: the number of truthful-hallucinated pairs that the answers make.
        cosine_distance_sums: (L,) sums over every real token of 1 - cosine(block's input, output).
    """

    states: Tensor
    all_tokens: TokenMoments
    hallucinated_tokens: TokenMoments
    pairs: int
    cosine_distance_sums: Tensor

    @property
    def questions(self) -> int:
        return self.states.shape[0]

    @property
    def differences(self) -> Tensor:
        """The differences d = hallucinated minus truthful, (n, L, H)."""
        return self.states[:, 1] - self.states[:, 0]

    @staticmethod
    def merge(parts: list["LayerProfile"]) -> "LayerProfile":
        """Merge the profiles of some questions each, in the order given, into the profile of all.

        Raises:
            EavssError: there are fewer than two questions, so nothing can be systematic.
        """
        if sum(part.questions for part in parts) < 2:
            raise EavssError("scoring needs at least two questions with a truthful and a hallucinated answer")
        return LayerProfile(
            torch.cat([part.states for part in parts]),
            sum((part.all_tokens for part in parts[1:]), parts[0].all_tokens),
            sum((part.hallucinated_tokens for part in parts[1:]), parts[0].hallucinated_tokens),
            sum(part.pairs for part in parts),
            torch.stack([part.cosine_distance_sums for part in parts]).sum(0),
        )

    def layer_scores(self) -> list[LayerScores]:
        """Return the scores of every block, in depth order."""
        paper, scale_free = scores.avss(self.all_tokens), scores.scale_free_avss(self.all_tokens)
        shares = scores.systematic_share(self.differences.double())  # (L, H)
        columns = {
            "paper": paper,
            "scale_free": scale_free,
            "block_influence": scores.block_influence(self.cosine_distance_sums, self.all_tokens),
            "hsav": scores.hsav_of_shares(shares),
            "hss": scores.hss_of_shares(shares),
            "contrast": scores.eavss_of_shares(shares),
            "conditional": scores.eavss_conditional(self.hallucinated_tokens),
            "navss": scores.normalised(paper),
            "cavss": scores.cumulative(paper),
        }
        values: dict[str, list[float]] = {name: column.tolist() for name, column in columns.items()}
        return [
            {
                "layer": layer,
                "avss": {"paper": values["paper"][layer], "scale_free": values["scale_free"][layer]},
                "navss": values["navss"][layer],
                "cavss": values["cavss"][layer],
                "block_influence": values["block_influence"][layer],
                "hsav": values["hsav"][layer],
                "hss": values["hss"][layer],
                "eavss": {"contrast": values["contrast"][layer], "conditional": values["conditional"][layer]},
            }
            for layer in range(len(paper))
        ]


def profile_model(model: nn.Module, batches: Iterable[PairedBatch]) -> LayerProfile:
    """Run every batch through `model` and merge the profiles.

    Raises:
        EavssError: a block did not run, a question lacks a truthful or a hallucinated answer or an answer has no
            token, or there are fewer than two questions.
    """
    return LayerProfile.merge([profile_batch(model, batch) for batch in batches])


@torch.no_grad()
def profile_batch(model: nn.Module, paired: PairedBatch) -> LayerProfile:
    """Profile the questions of one batch. Everything is moved to the CPU once, at the end.

    Raises:
        EavssError: see `profile_model`.
    """
    weights = answer_weights(paired)
    device = next(model.parameters()).device
    batch, weights = paired.batch.to(device), weights.to(device)
    real, halluc = batch.attention_mask.bool(), batch.answer_mask & paired.hallucinated.to(device).unsqueeze(1)
    masks = torch.stack([real, batch.answer_mask], dim=1)  # (B, 2, T)
    found: list[Summary] = []
    streams: list[Tensor] = []  # the first block's input, and the last output seen

    def receive(layer: int, output: Tensor) -> None:
        require_states(output, batch.input_ids.shape, layer)
        found.append(summarise(streams[-1], output, masks))
        streams[1:] = [output]

    blocks = find_blocks(model)
    every = list(range(len(blocks.modules)))
    with (
        evaluating(model),
        capture_block_input(blocks, 0, streams.append),
        capture_block_outputs(blocks, every, receive),
    ):
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=ONE_LOGIT)
    statistics = torch.stack([summary.statistics for summary in found])  # (L, B, T, 3)
    products = torch.stack([summary.products for summary in found])  # (L, B, T)
    texts, answers = torch.stack([summary.means for summary in found]).unbind(2)  # (L, B, H)
    states = (weights @ answers).unflatten(1, (-1, 2))  # (2n, B) @ (L, B, H) -> (L, n, 2, H)
    return LayerProfile(
        states.permute(1, 2, 0, 3).contiguous().cpu(),  # (n, 2, L, H)
        token_moments(statistics, texts, real),
        token_moments(statistics, answers, halluc),
        _count_pairs(paired),
        cosine_distance_sums(streams[0], statistics, products, real),
    )


def answer_weights(paired: PairedBatch) -> Tensor:
    """Return weights (2n, B): row 2q averages the truthful answers of question q, row 2q + 1 its hallucinated ones."""
    empty = (~paired.batch.answer_mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise EavssError(f"sequences {empty} of the batch have no counted answer token")
    n = int(paired.question.max()) + 1
    rows = paired.question * 2 + paired.hallucinated.long()  # (B,)
    counts = torch.bincount(rows, minlength=2 * n)
    if (counts == 0).any():
        row = int((counts == 0).nonzero()[0])
        kind = "hallucinated" if row % 2 else "truthful"
        raise EavssError(f"question {row // 2} of the batch has no {kind} answer")
    weights = torch.zeros(2 * n, len(rows))
    weights[rows, torch.arange(len(rows))] = 1 / counts[rows].float()
    return weights


def _count_pairs(paired: PairedBatch) -> int:
    if paired.pairs is not None:
        return paired.pairs
    n = int(paired.question.max()) + 1
    right, wrong = (torch.bincount(paired.question[paired.hallucinated == kind], minlength=n) for kind in (False, True))
    return int((right * wrong).sum())
