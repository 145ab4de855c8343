"""Profile the model on its own answers: at which blocks does it know that it does not know?"""

from collections.abc import Sequence
from itertools import chain
from typing import TypedDict

import torch
from transformers import PreTrainedModel

from eavss.answer_states import States, answer_states
from eavss.batches import TokenSequence, group_by_length
from eavss.blocks import find_blocks
from eavss.confidence import Confidence
from eavss.probes import probe_auroc
from eavss.scores import eavss_of_shares, hsav_of_shares, hss_of_shares, unpaired_share
from train.runtime.distributed import map_sharded


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


def read_states(model: PreTrainedModel, sequences: Sequence[TokenSequence], token_budget: int) -> States:
    """Run the model over each prompt with its answer, the batches divided among the ranks.

    Args:
        model: a causal LM.
        sequences: n prompts with their answers.
        token_budget: padded tokens in a batch.

    Returns:
        The states at every block.
    """
    every = list(range(len(find_blocks(model).modules)))
    model.eval()
    groups = list(group_by_length([len(sequence) for sequence in sequences], token_budget))
    read = map_sharded(
        lambda group: answer_states(model, [sequences[i] for i in group], every),
        groups,
        "reading the model's own answers",
    )
    places = torch.tensor(list(chain(*groups))).argsort()
    prompts, answers = (torch.cat(parts)[places] for parts in zip(*read, strict=True))
    return States(prompts, answers)


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
