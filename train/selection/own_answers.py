"""Profile the model on its own answers: at which blocks does it know that it does not know?"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, group_by_length, pad
from eavss.blocks import capture_block_outputs, find_blocks
from eavss.confidence import Confidence
from eavss.probes import probe_auroc
from eavss.scores import eavss_of_shares, hsav_of_shares, hss_of_shares, unpaired_share
from train.runtime.distributed import map_sharded


class States(NamedTuple):
    """The states of n answers at the L blocks, (n, L, H) each.

    Args:
        prompt: at the last token of the prompt, before anything is said.
        answer: the mean over the answer's tokens.
    """

    prompt: Tensor
    answer: Tensor


class BlockRecord(TypedDict):
    """What one block knows of the model's own answers.

    Args:
        layer: its index.
        hsav, hss, eavss: the scores of right answers against wrong ones, with `eavss.scores.unpaired_share`.
        prompt_auroc, answer_auroc: a probe's AUROC on the last prompt token and on the answer.
        prompt_interval, answer_interval: their 95% intervals.
        prompt_combined, answer_combined: the AUROC of the probe together with the likelihoods.
        prompt_gain, answer_gain: the 95% intervals of how much higher it is than that of the summed log-probability.
    """

    layer: int
    hsav: float
    hss: float
    eavss: float
    prompt_auroc: float
    prompt_interval: list[float]
    prompt_combined: float
    prompt_gain: list[float]
    answer_auroc: float
    answer_interval: list[float]
    answer_combined: float
    answer_gain: list[float]


def answer_states(model: PreTrainedModel, sequences: Sequence[TokenSequence], token_budget: int) -> States:
    """Run the model over each prompt with its answer, the batches divided among the ranks.

    Args:
        model: a whole causal LM.
        sequences: n prompts with their answers.
        token_budget: padded tokens in a batch.
    """
    blocks = find_blocks(model)
    every = list(range(len(blocks.modules)))

    @torch.no_grad()
    def read(group: list[int]) -> list[tuple[Tensor, Tensor]]:
        members = [sequences[i] for i in group]
        batch = pad(members).to(next(model.parameters()).device)
        before = torch.tensor([sequence.answer_start - 1 for sequence in members], device=batch.input_ids.device)
        rows = torch.arange(len(members), device=before.device)
        weights = batch.answer_mask / batch.answer_mask.sum(1, keepdim=True)  # (B, T)
        prompts: list[Tensor] = []
        answers: list[Tensor] = []

        def receive(_layer: int, output: Tensor) -> None:
            prompts.append(output[rows, before].float().cpu())
            answers.append((weights.unsqueeze(1) @ output.float()).squeeze(1).cpu())

        with capture_block_outputs(blocks, every, receive):
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=1)
        return list(zip(torch.stack(prompts, 1), torch.stack(answers, 1), strict=True))  # (L, H) each

    model.eval()
    groups = list(group_by_length([len(sequence) for sequence in sequences], token_budget))
    read_groups = map_sharded(read, groups, "reading the model's own answers")
    by_index = {
        i: states
        for group, found in zip(groups, read_groups, strict=True)
        for i, states in zip(group, found, strict=True)
    }
    in_order = [by_index[i] for i in range(len(sequences))]
    return States(torch.stack([prompt for prompt, _ in in_order]), torch.stack([answer for _, answer in in_order]))


def block_records(
    states: States, confidences: Sequence[Confidence], right: Sequence[bool], seed: int
) -> list[BlockRecord]:
    """Return what each block knows of the answers.

    Args:
        states: of the answers.
        confidences: of the answers.
        right: (n,) whether each answer is right.
        seed: the seed of folds and intervals.
    """
    shares = unpaired_share(states.answer.double(), ~torch.tensor(right))  # (L, H)
    hsav, hss, eavss = (score(shares).tolist() for score in (hsav_of_shares, hss_of_shares, eavss_of_shares))
    prompts, answers = (probe_auroc(each, confidences, right, seed) for each in states)
    return [
        {
            "layer": layer,
            "hsav": hsav[layer],
            "hss": hss[layer],
            "eavss": eavss[layer],
            "prompt_auroc": prompts[layer].auroc,
            "prompt_interval": list(prompts[layer].interval),
            "prompt_combined": prompts[layer].combined,
            "prompt_gain": list(prompts[layer].gain),
            "answer_auroc": answers[layer].auroc,
            "answer_interval": list(answers[layer].interval),
            "answer_combined": answers[layer].combined,
            "answer_gain": list(answers[layer].gain),
        }
        for layer in range(len(hsav))
    ]
