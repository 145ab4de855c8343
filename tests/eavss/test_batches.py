"""Sequences padded and grouped to batches."""

import random

import pytest
import torch

from eavss.batches import TokenSequence, group_by_length, pad


def test_pad() -> None:
    """Lengths 4 and 2, padded with 9, which is also a real token of the first sequence: the lengths decide."""
    batch = pad([TokenSequence((5, 9, 6, 9), 1, 3), TokenSequence((7, 8), 1, 2)], pad_id=9)
    assert batch.input_ids.tolist() == [[5, 9, 6, 9], [7, 8, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.answer_mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.long
    assert batch.answer_mask.dtype == torch.bool


def test_pad_of_one_sequence_adds_nothing() -> None:
    batch = pad([TokenSequence((5, 6, 7), 2, 3)])
    assert batch.input_ids.tolist() == [[5, 6, 7]]
    assert batch.attention_mask.all()


def test_batch_moves_as_a_whole() -> None:
    moved = pad([TokenSequence((5, 6), 1, 2)]).to("meta")
    tensors = (moved.input_ids, moved.attention_mask, moved.answer_mask)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize(
    ("lengths", "budget", "groups"),
    [
        ([], 10, []),
        ([3], 10, [[0]]),
        ([2, 5, 3, 5], 10, [[1, 3], [2, 0]]),
        ([1, 1, 1, 1], 3, [[0, 1, 2], [3]]),
        ([5, 5], 9, [[0], [1]]),
        ([2, 30, 2], 10, [[1], [0, 2]]),
        ([20, 30], 10, [[1], [0]]),
    ],
)
def test_group_by_length(lengths: list[int], budget: int, groups: list[list[int]]) -> None:
    assert list(group_by_length(lengths, budget)) == groups


def test_groups_hold_every_index_once_and_keep_the_budget() -> None:
    lengths = random.Random(0).choices(range(1, 60), k=200)
    groups = list(group_by_length(lengths, 120))
    assert sorted(index for group in groups for index in group) == list(range(200))
    assert all(len(group) * max(lengths[i] for i in group) <= 120 for group in groups)
    flat = [lengths[index] for group in groups for index in group]
    assert flat == sorted(lengths, reverse=True)
    # No group could have taken the next one's first index.
    assert all((len(a) + 1) * lengths[a[0]] > 120 for a in groups[:-1])
