"""How alike blocks' states are, against plain loops, and groups that can be told by eye."""

import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, pad
from eavss.blocks import find_blocks
from eavss.errors import EavssError
from eavss.similarity import difference_similarity, explained, group_means, state_similarity, three_groups
from tests.toys import BLOCKS, count_hooks

TEXTS = [(5, 6, 7, 8), (9, 10), (11, 12, 13)]


def tiles(sizes: list[int], inside: list[float], across: float) -> list[list[float]]:
    """A matrix in which blocks of one group are as alike as `inside` says, and others as `across` does."""
    group = [number for number, size in enumerate(sizes) for _ in range(size)]
    total = len(group)
    return [
        [1.0 if i == j else inside[group[i]] if group[i] == group[j] else across for j in range(total)]
        for i in range(total)
    ]


def test_similarity_is_the_mean_over_tokens_but_each_texts_first(model: PreTrainedModel) -> None:
    """Six tokens count. They are taken one text at a time here, and in two padded batches there."""
    expected = torch.zeros(BLOCKS, BLOCKS)
    outputs: list[torch.Tensor] = []
    blocks = find_blocks(model).modules
    hooks = [block.register_forward_hook(lambda _m, _a, output: outputs.append(output[0])) for block in blocks]
    for text in TEXTS:
        outputs.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([text]))
        for token in range(1, len(text)):
            states = [output[token] for output in outputs]
            expected += torch.tensor([[F.cosine_similarity(a, b, dim=0) for a in states] for b in states])
    for hook in hooks:
        hook.remove()
    sequences = [TokenSequence(text, 1, len(text)) for text in TEXTS]
    found = state_similarity(model, [pad(sequences[:2]), pad(sequences[2:])])
    torch.testing.assert_close(torch.tensor(found), expected / 6, atol=1e-5, rtol=0)
    assert count_hooks(model) == 0


def test_a_text_of_one_token_has_nothing_to_compare(model: PreTrainedModel) -> None:
    with pytest.raises(EavssError, match="two tokens"):
        state_similarity(model, [pad([TokenSequence((5,), 0, 1)])])


@pytest.mark.parametrize("sizes", [[2, 4, 2], [1, 5, 1], [3, 4, 2]])
def test_groups_are_found_where_they_are(sizes: list[int]) -> None:
    matrix = tiles(sizes, [0.6, 0.8, 0.7], 0.1)
    groups = three_groups(matrix)
    assert [len(group) for group in groups] == sizes
    assert [block for group in groups for block in group] == list(range(sum(sizes)))
    assert explained(matrix, groups) == pytest.approx(1)
    means = group_means(matrix, groups)
    assert means[1][1] == pytest.approx(0.8)
    assert means[0][1] == means[1][0] == pytest.approx(0.1)
    assert (means[0][0] is None) == (sizes[0] == 1)


def test_two_blocks_that_are_not_alike_are_not_both_in_the_middle() -> None:
    """The mean is .6. Blocks 0 and 2 are less alike than that, so of the runs {0, 1} and {1, 2} it is the first."""
    assert three_groups([[1, 0.8, 0.2], [0.8, 1, 0.8], [0.2, 0.8, 1]]) == [range(0), range(2), range(2, 3)]


def test_blocks_that_are_all_alike_are_one_group() -> None:
    matrix = tiles([7], [0.1], 0)
    assert three_groups(matrix) == [range(0), range(7), range(7, 7)]
    assert group_means(matrix, three_groups(matrix))[0] == [None, None, None]


def test_what_groups_explain_by_hand() -> None:
    """Of .2, .4 and .6 (mean .4, errors .04 + .04, twice) the groups {0}, {1, 2} leave .2 and .4: .02, twice."""
    matrix = [[1, 0.2, 0.4], [0.2, 1, 0.6], [0.4, 0.6, 1]]
    assert explained(matrix, [range(1), range(1, 3)]) == pytest.approx(1 - 0.02 / 0.08)
    assert explained(tiles([3], [0.5], 0), [range(3)]) == 1


def test_one_block_is_no_group() -> None:
    with pytest.raises(EavssError, match="one block"):
        three_groups([[1]])


def test_blocks_are_as_alike_as_their_differences_are() -> None:
    """Cosines of blocks 0 and 1: 1 for the first question, 0 for the second; of 0 and 2: -1 and 0.6."""
    differences = torch.tensor([[[1.0, 0], [3, 0], [-2, 0]], [[5, 0], [0, 2], [3, 4]]])
    expected = torch.tensor([[1, 0.5, -0.2], [0.5, 1, (-1 + 0.8) / 2], [-0.2, (-1 + 0.8) / 2, 1]])
    torch.testing.assert_close(difference_similarity(differences).float(), expected)
