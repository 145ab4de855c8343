"""Each criterion names the blocks that a naive computation names."""

import math

import pytest
import torch
from torch.nn import functional as F

from eavss.batches import Batch, TokenSequence, pad
from eavss.choices import CRITERIA
from eavss.errors import EavssError
from eavss.pruning import angular_distances, blocks_to_remove, count_to_remove, loss_without, remove_greedily
from eavss.records import LayerScores
from tests.toys import BLOCKS, KINDS, tiny_model

TEXTS = [(3, 4, 5, 6, 7, 8), (9, 10, 11), (12, 13, 14, 15), (16, 17)]
SCORES: list[LayerScores] = [
    {
        "layer": layer,
        "avss": {"paper": paper, "scale_free": -paper},
        "navss": 0.0,
        "cavss": 0.0,
        "block_influence": influence,
        "hsav": 0.0,
        "hss": 0.0,
        "eavss": {"contrast": 0.0, "conditional": 0.0},
    }
    for layer, (paper, influence) in enumerate([(0.3, 2.0), (0.1, 1.0), (0.2, 1.0), (0.1, 3.0)])
]


def batches() -> list[Batch]:
    sequences = [TokenSequence(ids, 1, len(ids)) for ids in TEXTS]
    return [pad(sequences[:3]), pad(sequences[3:])]


@pytest.mark.parametrize(
    ("share", "total", "count"), [(0.25, 30, 7), (0.3, 10, 3), (0.01, 30, 1), (0.99, 4, 3), (0.5, 2, 1)]
)
def test_how_many_are_removed(share: float, total: int, count: int) -> None:
    assert count_to_remove(share, total) == count


@pytest.mark.parametrize(("share", "total"), [(0.0, 4), (1.0, 4), (-0.5, 4), (math.nan, 4), (0.5, 1)])
def test_a_share_that_leaves_nothing_is_refused(share: float, total: int) -> None:
    with pytest.raises(EavssError, match="share"):
        count_to_remove(share, total)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [("avss", [1, 3]), ("avss_scale_free", [0, 2]), ("block_influence", [1, 2]), ("last", [2, 3])],
)
def test_the_lowest_scores_go(criterion: str, expected: list[int]) -> None:
    assert blocks_to_remove(criterion, 2, SCORES, model=tiny_model("llama"), batches=[]) == expected


def test_random_blocks_depend_on_the_seed_alone() -> None:
    model = tiny_model("llama")
    drawn = [blocks_to_remove("random", 2, SCORES, model=model, batches=[], seed=seed) for seed in range(20)]
    assert drawn == [blocks_to_remove("random", 2, SCORES, model=model, batches=[], seed=seed) for seed in range(20)]
    assert len({tuple(each) for each in drawn}) > 3
    assert all(len(set(each)) == 2 and each == sorted(each) for each in drawn)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_angular_distances(kind: str, count: int) -> None:
    model = tiny_model(kind)
    expected = torch.zeros(BLOCKS - count + 1)
    for ids in TEXTS:
        outputs = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
        states = [state[0, -1] for state in outputs[:-1]]  # the last one has been through the final norm
        for start in range(BLOCKS - count):
            cosine = F.cosine_similarity(states[start], states[start + count], dim=0)
            expected[start] += cosine.clamp(-1, 1).arccos() / math.pi / len(TEXTS)
    found = angular_distances(model, batches(), count)
    assert len(found) == BLOCKS - count + 1
    assert found[:-1] == pytest.approx(expected[:-1].tolist(), abs=1e-4)
    start = found.index(min(found))
    chosen = blocks_to_remove("angular", count, SCORES, model=model, batches=batches())
    assert chosen == list(range(start, start + count))


@torch.no_grad()
def test_the_loss_without_some_blocks() -> None:
    model = tiny_model("llama")
    whole = loss_without(model, batches(), [])
    losses = [
        -model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)[range(len(ids) - 1), list(ids[1:])] for ids in TEXTS
    ]
    assert whole == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)
    assert loss_without(model, batches(), [0]) != pytest.approx(whole, abs=1e-4)
    assert loss_without(model, batches(), []) == whole


def test_greedy_removal_looks_at_what_is_gone_already() -> None:
    losses = {(0,): 3.0, (1,): 1.0, (2,): 2.0, (0, 1): 1.5, (1, 2): 9.0, (0, 2): 0.0}
    assert remove_greedily(lambda removed: losses[tuple(removed)], 3, 2) == [0, 1]
    assert remove_greedily(lambda removed: 1.0, 4, 1) == [3]


def test_perplexity_removes_what_the_text_needs_least() -> None:
    model = tiny_model("llama")
    alone = [loss_without(model, batches(), [layer]) for layer in range(BLOCKS)]
    (first,) = blocks_to_remove("perplexity", 1, SCORES, model=model, batches=batches())
    assert alone[first] == min(alone)
    assert all(len(blocks_to_remove(c, 2, SCORES, model=model, batches=batches())) == 2 for c in CRITERIA)
