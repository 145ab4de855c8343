"""The states of a model's blocks on its own answers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eavss.batches import TokenSequence, pad
from eavss.blocks import ONE_LOGIT, capture_block_outputs, find_blocks
from eavss.prompt_cache import Beginning, can_share, continuation, read_prompts


class States(NamedTuple):
    """The states of n answers at K blocks, (n, K, H) each, in float32 on the CPU.

    Args:
        prompt: at the last token of the prompt, before anything is said.
        answer: the mean over the answer's tokens.
    """

    prompt: Tensor
    answer: Tensor


@torch.no_grad()
def answer_states(
    model: nn.Module, sequences: Sequence[TokenSequence], layers: Sequence[int], beginning: Beginning | None = None
) -> States:
    """Run the model over each prompt with its answer, as one batch; what all prompts begin with is read once.

    Args:
        model: a causal LM in evaluation mode.
        sequences: n prompts with their answers.
        layers: the indices of K blocks, ascending.
        beginning: what these prompts and others begin with, if it has been read already; it is used where the model can
            share it.
    """
    device = next(model.parameters()).device
    starts = torch.tensor([sequence.answer_start for sequence in sequences], device=device)
    ends = torch.tensor([sequence.answer_end for sequence in sequences], device=device)
    inputs: dict[str, object]
    if can_share(model) and all(sequence.answer_start > 1 for sequence in sequences):
        cache = read_prompts(model, [sequence.prompt for sequence in sequences], beginning)
        pieces: list[Sequence[int]] = [sequence.ids[sequence.answer_start - 1 :] for sequence in sequences]
        inputs = {**continuation(cache, pieces, device), "use_cache": True}
        width, starts, ends = max(map(len, pieces)), torch.ones_like(starts), ends - starts + 1
    else:
        batch = pad(list(sequences)).to(device)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
        width = batch.input_ids.shape[1]
    rows, positions = torch.arange(len(sequences), device=device), torch.arange(width, device=device)
    said = (positions >= starts.unsqueeze(1)) & (positions < ends.unsqueeze(1))  # (n, T)
    weights = (said / said.sum(1, keepdim=True)).unsqueeze(1)
    prompts: list[Tensor] = []
    answers: list[Tensor] = []

    def receive(_layer: int, output: Tensor) -> None:
        prompts.append(output[rows, starts - 1].float().cpu())
        answers.append((weights @ output.float()).squeeze(1).cpu())

    with capture_block_outputs(find_blocks(model), list(layers), receive):
        model(**inputs, logits_to_keep=ONE_LOGIT)
    return States(torch.stack(prompts, 1), torch.stack(answers, 1))
