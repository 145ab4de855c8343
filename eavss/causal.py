"""What happens to the log-odds of truthful answers when a block is dropped, run twice, or patched.

Nothing is learnt from correlations here: each effect is measured by running the rest of the model again. That costs
about half a forward pass for each block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from eavss.batches import Batch
from eavss.blocks import (
    Blocks,
    capture_block_input,
    capture_block_outputs,
    evaluating,
    find_blocks,
    replace_forward,
    require_states,
    start_at_block,
)
from eavss.errors import EavssError
from eavss.profile import PairedBatch, answer_weights
from eavss.shortcuts import can_start_at

Intervention = Literal["patching", "dropping", "repeating"]


def causal_effects(model: nn.Module, paired: PairedBatch, intervention: Intervention) -> Tensor:
    """Return how far an intervention at each block moves the log-odds of each question, (n, L), in nats.

    `dropping` (the block does not run) and `repeating` (it runs twice in a row, each time on what left it before):
    log p(truthful) - log p(hallucinated), both per token and averaged over a question's answers, with the intervention
    less that without it.

    `patching`: activation patching (Meng et al., arXiv 2202.05262; Zhang and Nanda, arXiv 2309.16042). The model reads
    the first hallucinated answer. At the tokens of the answer, what block l adds to the stream is replaced by what it
    adds at the token of the same number in the first truthful answer; tokens that only one of the two has are left
    alone. The log-odds are those of the next token, log p(truthful's) - log p(hallucinated's), averaged over the
    patched tokens whose next tokens both answers have. We patch answers from their starts on, and not the prompt's last
    token, because its states do not depend on the answer that follows. We patch what a block adds, and not the stream
    that leaves it, since the latter holds the work of all blocks below.

    Args:
        model: a causal LM, whole on one device.
        paired: the answers of n questions.
        intervention: what is done.

    Returns:
        (n, L) on the CPU. For `patching`, NaN for questions with an answer of one token, which has no next one.

    Raises:
        EavssError: the model's blocks pass on more than hidden states.
    """
    if not can_start_at(model, len(find_blocks(model).modules) // 2):
        raise EavssError(
            f"{type(model).__name__}: its blocks pass on more than hidden states, so that {intervention} one of them "
            "cannot be measured; choose another selector"
        )
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        if intervention == "patching":
            return _patching(model, *(_first(paired, kind).to(device) for kind in (False, True))).cpu()
        return _rewiring(model, paired.batch.to(device), answer_weights(paired).to(device), intervention).cpu()


class _Stream(NamedTuple):
    """The hidden states that enter block 0 and leave each block, (B, T, H) each: L + 1 of them."""

    states: list[Tensor]

    def added(self, layer: int) -> Tensor:
        return self.states[layer + 1] - self.states[layer]


def _rewiring(model: nn.Module, batch: Batch, weights: Tensor, intervention: Intervention) -> Tensor:
    def log_odds() -> Tensor:
        means = _answer_logprobs(model, batch)  # (B,)
        right, wrong = (weights @ means).unflatten(0, (-1, 2)).unbind(1)  # (n,) each
        return right - wrong

    blocks = find_blocks(model)
    stream, before = _read(model, blocks, batch), log_odds()
    effects = []
    for layer in range(len(blocks.modules)):
        # Without block l, block l + 1 reads what entered l. Repeated, block l reads what left it.
        start, entering = (layer + 1, layer) if intervention == "dropping" else (layer, layer + 1)
        with _running_from(blocks, start, stream.states[entering]):
            effects.append(log_odds() - before)
    return torch.stack(effects, dim=1)


def _patching(model: nn.Module, right: Batch, wrong: Batch) -> Tensor:
    aligned = right.answer_mask & wrong.answer_mask  # (n, T); the answers follow the same prompt
    followed = aligned[:, :-1] & aligned[:, 1:]
    counts = followed.sum(1)

    def log_odds() -> Tensor:
        logprobs, columns = _logprobs(model, wrong, followed)  # (n, C, V)
        odds = sum(
            sign * logprobs.gather(2, each.input_ids[:, 1:][:, columns].unsqueeze(2)).squeeze(2)
            for sign, each in ((1, right), (-1, wrong))
        )
        return (odds * followed[:, columns]).sum(1) / counts  # 0 / 0 is NaN

    blocks = find_blocks(model)
    truthful, stream = (_read(model, blocks, each) for each in (right, wrong))
    before = log_odds()
    effects = []
    for layer in range(len(blocks.modules)):
        change = (truthful.added(layer) - stream.added(layer)) * aligned.unsqueeze(2)
        with _running_from(blocks, layer + 1, stream.states[layer + 1] + change):
            effects.append(log_odds() - before)
    return torch.stack(effects, dim=1)


def _first(paired: PairedBatch, hallucinated: bool) -> Batch:
    """Return the first answer of one kind of every question."""
    rows = [
        int(((paired.question == question) & (paired.hallucinated == hallucinated)).nonzero()[0])
        for question in range(int(paired.question.max()) + 1)
    ]
    batch = paired.batch
    return Batch(batch.input_ids[rows], batch.attention_mask[rows], batch.answer_mask[rows])


def _read(model: nn.Module, blocks: Blocks, batch: Batch) -> _Stream:
    states: list[Tensor] = []

    def keep(layer: int, output: Tensor) -> None:
        require_states(output, batch.input_ids.shape, layer)
        states.append(output)

    every = list(range(len(blocks.modules)))
    with capture_block_input(blocks, 0, states.append), capture_block_outputs(blocks, every, keep):
        _logprobs(model, batch, batch.answer_mask[:, 1:])
    return _Stream(states)


@contextmanager
def _running_from(blocks: Blocks, layer: int, states: Tensor) -> Iterator[None]:
    """Run block `layer` and those above it on `states`; layer L runs no block at all."""
    if layer < len(blocks.modules):
        with start_at_block(blocks, layer, states):
            yield
    else:
        with replace_forward(blocks.modules, lambda *_args, **_kwargs: states):
            yield


def _logprobs(model: nn.Module, batch: Batch, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p of every token (B, C, V), and the C columns where some row of `wanted` (B, T - 1) is set."""
    columns = wanted.any(0).nonzero().flatten()
    if not len(columns):
        columns = columns.new_zeros(1)
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=columns
    ).logits
    return torch.log_softmax(logits, -1, dtype=torch.float32), columns


def _answer_logprobs(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean log-probability of each answer's tokens, (B,)."""
    wanted = batch.answer_mask[:, 1:]
    logprobs, columns = _logprobs(model, batch, wanted)
    targets = batch.input_ids[:, 1:][:, columns]
    kept = wanted[:, columns]
    return (logprobs.gather(2, targets.unsqueeze(2)).squeeze(2) * kept).sum(1) / kept.sum(1)
