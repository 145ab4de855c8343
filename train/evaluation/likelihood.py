"""Log-probabilities of answers, with logits for answer tokens only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, group_by_length, pad
from eavss.prompt_cache import can_share, continuation, read_prompts
from train.batching.encoding import Encoder
from train.evaluation.lower_blocks import LowerBlocks
from train.model.kept_figures import KeptFigures
from train.model.loading import causal_lm
from train.model.logits import logits_at, require_no_nan, target_logprobs
from train.runtime.distributed import from_main, map_sharded

# How many token budgets of prompts are held at once: several, so that answers of like length share a batch.
_PROMPT_BUDGETS = 4
# Scores that are kept on disk have been computed in this way. Count on when the way changes.
_VERSION = 1


@dataclass(frozen=True)
class AnswerLogprob:
    """The log-probability of an answer.

    Args:
        total: in nats, summed over its tokens, without an end-of-sequence.
        tokens: the number of these tokens.
        greedy: whether greedy decoding would write the answer, since each of its tokens is the likeliest one.
    """

    total: float
    tokens: int
    greedy: bool

    @property
    def per_token(self) -> float:
        """The length-normalised log-probability, in nats a token."""
        return self.total / self.tokens


@dataclass(frozen=True)
class AnswerScorer:
    """Scores answers under a model without gradients, with the batches divided among the ranks.

    Args:
        model: a causal LM, whole or divided among the ranks (`train.model.sharding`).
        encoder: how examples become tokens.
        token_budget: padded tokens in a batch.
        share_prompts: read a prompt once for all its answers, where the model's cache allows it.
        kept: where scores are kept for later runs; None to measure whatever was kept.
        lower: the blocks that training leaves alone, and that run once for the base and the trained model; None to run
            all blocks each time.
    """

    model: PreTrainedModel | PeftModel
    encoder: Encoder
    token_budget: int
    share_prompts: bool = True
    kept: KeptFigures | None = None
    lower: LowerBlocks | None = None

    def score_sequences(self, sequences: list[TokenSequence], description: str) -> list[AnswerLogprob]:
        """Return the log-probability of each sequence's answer given its prompt, in the order given.

        Raises:
            ModelError: a log-probability is NaN.
        """
        if self.kept is None:
            return self._measure(sequences, description)

        def measure() -> list[tuple[float, bool]]:
            return [(score.total, score.greedy) for score in self._measure(sequences, description)]

        # Rounding depends on the batches, so the key holds all sequences in their order.
        ids = [(sequence.ids, sequence.answer_start, sequence.answer_end) for sequence in sequences]
        settings = [_VERSION, self.token_budget, self.share_prompts, ids]
        rows = self.kept("scores", self.model, settings, measure, description)
        pairs = zip(sequences, rows, strict=True)
        return [AnswerLogprob(total, len(sequence.answer), greedy) for sequence, (total, greedy) in pairs]

    def _measure(self, sequences: list[TokenSequence], description: str) -> list[AnswerLogprob]:
        self.model.eval()
        # A prompt's last token is read with its answers, so one of a single token leaves nothing to share.
        shared = self.share_prompts and all(s.answer_start > 1 for s in sequences)
        shared = shared and from_main(lambda: can_share(self.model))
        groups = list(self._prompt_groups(sequences) if shared else self._groups(sequences))
        score = self._score_shared if shared else self._score_batch

        def score_group(group: list[int]) -> list[AnswerLogprob]:
            members = [sequences[i] for i in group]
            if self.lower is None:
                return score(members)
            with self.lower.running(members, shared, self.token_budget):
                return score(members)

        scored = map_sharded(score_group, groups, description)
        by_index = dict(zip(chain(*groups), chain(*scored), strict=True))
        require_no_nan(score.total for score in by_index.values())
        return [by_index[i] for i in range(len(sequences))]

    def _groups(self, sequences: list[TokenSequence]) -> Iterator[list[int]]:
        return group_by_length([len(sequence) for sequence in sequences], self.token_budget)

    def _prompt_groups(self, sequences: list[TokenSequence]) -> Iterator[list[int]]:
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for index, sequence in enumerate(sequences):
            by_prompt.setdefault(sequence.prompt, []).append(index)
        prompts = list(by_prompt)
        for group in group_by_length([len(prompt) for prompt in prompts], _PROMPT_BUDGETS * self.token_budget):
            yield [index for number in group for index in by_prompt[prompts[number]]]

    @torch.no_grad()
    def _score_batch(self, sequences: list[TokenSequence]) -> list[AnswerLogprob]:
        batch = pad(sequences).to(next(self.model.parameters()).device)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
        rows, columns = batch.answer_mask.nonzero(as_tuple=True)
        return self._score_at(inputs, rows, columns - 1, sequences)

    @torch.no_grad()
    def _score_shared(self, sequences: list[TokenSequence]) -> list[AnswerLogprob]:
        prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(s.prompt for s in sequences))}
        cache = read_prompts(self.model, list(prompts))
        device = cache.mask.device
        # A cached token costs a batch memory, but little time: a quarter of a token that is computed.
        weights = [len(s.answer) + len(s.prompt) // 4 for s in sequences]
        by_index: dict[int, AnswerLogprob] = {}
        for group in group_by_length(weights, self.token_budget):
            members = [sequences[i] for i in group]
            past = cache.take(torch.tensor([prompts[s.prompt] for s in members], device=device))
            # The prompt's last token is read with the answer, whose first token it predicts.
            inputs = continuation(past, [(s.prompt[-1], *s.answer[:-1]) for s in members], device)
            at = torch.tensor([(row, step) for row, s in enumerate(members) for step in range(len(s.answer))])
            rows, steps = at.to(device).unbind(1)
            by_index |= zip(group, self._score_at({**inputs, "use_cache": True}, rows, steps, members), strict=True)
        return [by_index[i] for i in range(len(sequences))]

    def _score_at(
        self, inputs: Mapping[str, object], rows: Tensor, columns: Tensor, sequences: list[TokenSequence]
    ) -> list[AnswerLogprob]:
        """Score the sequences by one forward pass, whose N rows and columns predict their answer tokens in order."""
        targets = torch.tensor([token for s in sequences for token in s.answer], device=rows.device)  # (N,)
        logits = logits_at(self.model, causal_lm(self.model), inputs, rows, columns)
        logprobs, likeliest = target_logprobs(logits, targets)
        totals = torch.zeros(len(sequences), device=rows.device).index_add(0, rows, logprobs)
        misses = torch.zeros(len(sequences), device=rows.device).index_add(0, rows, (~likeliest).float())
        figures = zip(sequences, totals.tolist(), misses.tolist(), strict=True)
        return [AnswerLogprob(total, len(s.answer), missed == 0) for s, total, missed in figures]
