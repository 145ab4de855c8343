"""Log-probabilities of answers, with logits computed for answer tokens only."""

from dataclasses import dataclass
from itertools import chain

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from data.examples import Example
from eavss.batches import TokenSequence, group_by_length, pad
from train.distributed import map_sharded
from train.encoding import Encoder


@dataclass(frozen=True)
class AnswerLogprob:
    """An answer's log-probability in nats, summed over its tokens, and the number of tokens (no end-of-sequence)."""

    total: float
    tokens: int

    @property
    def per_token(self) -> float:
        """The length-normalised log-probability, in nats a token."""
        return self.total / self.tokens


def token_logprobs(
    model: nn.Module, head: nn.Module, input_ids: Tensor, attention_mask: Tensor, mask: Tensor
) -> Tensor:
    """log p(token t | tokens before t) in float32 where `mask` is set, 0 elsewhere; (B, T).

    Equal to log_softmax of the model's logits, gathered at the next token; but the head sees only the N positions that
    predict a token of `mask`, so that nothing of size (B, T, V) exists. A hook on the head does this, since what a
    model does to its logits afterwards (scaling, soft-capping) then still happens.

    Args:
        model: called with input_ids (B, T) and attention_mask (B, T); may be wrapped by DeepSpeed.
        head: the model's output embeddings.
        mask: (B, T) booleans; never set at position 0, which nothing predicts.
    """
    rows, columns = mask.nonzero(as_tuple=True)  # (N,), (N,)

    def keep_predicting_positions(_head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][rows, columns - 1].unsqueeze(0),)  # (1, N, H)

    handle = head.register_forward_pre_hook(keep_predicting_positions)
    try:
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits  # (1, N, V)
    finally:
        handle.remove()
    logprobs = -F.cross_entropy(logits[0].float(), input_ids[rows, columns], reduction="none")  # (N,)
    return torch.zeros(mask.shape, device=logprobs.device).index_put((rows, columns), logprobs)


@dataclass(frozen=True)
class AnswerScorer:
    """Scores answers under a model without gradients, sharded over the ranks.

    Args:
        model: a whole causal LM (not partitioned by ZeRO-3).
        encoder: how examples become tokens.
        token_budget: padded tokens in a batch.
    """

    model: PreTrainedModel | PeftModel
    encoder: Encoder
    token_budget: int

    def score(self, answers: list[tuple[Example, str]], description: str) -> list[AnswerLogprob]:
        """The log-probability of each answer given its example's prompt, in the order given."""
        sequences = [self.encoder(example, answer) for example, answer in answers]
        groups = list(group_by_length([len(sequence) for sequence in sequences], self.token_budget))
        self.model.eval()
        scored = map_sharded(lambda group: self._score_batch([sequences[i] for i in group]), groups, description)
        by_index = dict(zip(chain(*groups), chain(*scored), strict=True))
        return [by_index[i] for i in range(len(answers))]

    @torch.no_grad()
    def _score_batch(self, sequences: list[TokenSequence]) -> list[AnswerLogprob]:
        batch = pad(sequences).to(next(self.model.parameters()).device)
        head = self.model.get_output_embeddings()
        logprobs = token_logprobs(self.model, head, batch.input_ids, batch.attention_mask, batch.answer_mask)
        totals = logprobs.sum(1).tolist()
        return [AnswerLogprob(total, s.answer_end - s.answer_start) for total, s in zip(totals, sequences, strict=True)]
