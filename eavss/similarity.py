"""How alike are the states that leave a model's blocks, and which blocks form groups?"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eavss.batches import Batch
from eavss.blocks import ONE_LOGIT, capture_block_outputs, find_blocks
from eavss.errors import EavssError


@torch.no_grad()
def state_similarity(model: nn.Module, batches: Iterable[Batch]) -> list[list[float]]:
    """Return the cosine similarity of the states that leave each two blocks, (L, L), averaged over tokens.

    A text's first token is left out: its state is far longer than the others' in most models, and hardly turns.

    Args:
        model: a causal LM in evaluation mode.
        batches: texts, of which every token counts.

    Raises:
        EavssError: no text has two tokens.
    """
    blocks = find_blocks(model)
    layers = list(range(len(blocks.modules)))
    device = next(model.parameters()).device
    total, tokens = torch.zeros(len(layers), len(layers), dtype=torch.float64, device=device), 0
    for batch in (each.to(device) for each in batches):
        counted = batch.attention_mask.bool()
        counted[:, 0] = False
        states: dict[int, Tensor] = {}

        def keep(layer: int, output: Tensor, counted: Tensor = counted, states: dict[int, Tensor] = states) -> None:
            states[layer] = F.normalize(output[counted].float(), dim=-1)  # (N, H)

        with capture_block_outputs(blocks, layers, keep):
            model(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                use_cache=False,
                logits_to_keep=ONE_LOGIT,
            )
        for one, other in combinations(layers, 2):
            total[one, other] += (states[one] * states[other]).sum()
        tokens += int(counted.sum())
    if not tokens:
        raise EavssError("no text has two tokens, so there are no states to compare")
    similarity = total / tokens
    found: list[list[float]] = (similarity + similarity.T).fill_diagonal_(1.0).tolist()
    return found


def difference_similarity(differences: Tensor) -> Tensor:
    """Return how alike two blocks see hallucination: the mean cosine of their differences, (L, L).

    Neighbours share most of the stream, so they see nearly the same difference. Unlike `state_similarity`, this needs
    no further pass, and what all answers have in common does not count.

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).
    """
    unit = F.normalize(differences.double(), dim=-1)
    return torch.einsum("nlh,nkh->lk", unit, unit) / len(unit)


def three_groups(similarity: Sequence[Sequence[float]]) -> list[range]:
    """Divide the blocks into first, middle and last ones.

    The middle is the longest run of neighbours of which any two are at least as alike as two blocks of the model are
    on average; of equals the earliest. The blocks before it are the first ones, and those after it the last ones. There
    may be none of these.

    Args:
        similarity: (L, L), symmetric.

    Raises:
        EavssError: there is only one block.
    """
    total = len(similarity)
    if total < 2:
        raise EavssError("one block has no other to be like")
    everything = range(total)
    average = fmean(_tile(similarity, everything, everything)) - 1e-9  # (rounding)
    alike = [
        range(start, end)
        for start, end in combinations(range(total + 1), 2)
        if all(value >= average for value in _tile(similarity, range(start, end), range(start, end)))
    ]
    middle = max(alike, key=len)
    return [range(middle.start), middle, range(middle.stop, total)]


def group_means(similarity: Sequence[Sequence[float]], groups: Sequence[range]) -> list[list[float | None]]:
    """Return the mean similarity of each two groups' blocks; None where there are no two."""
    return [[fmean(tile) if (tile := _tile(similarity, a, b)) else None for b in groups] for a in groups]


def explained(similarity: Sequence[Sequence[float]], groups: Sequence[range]) -> float:
    """Return the share of the similarities' variance that the tiles of some groups explain, 1 if they are all equal."""
    whole = _error(similarity, [range(len(similarity))])
    return 1 - _error(similarity, groups) / whole if whole else 1.0


def _error(similarity: Sequence[Sequence[float]], groups: Sequence[range]) -> float:
    tiles = [tile for a in groups for b in groups if (tile := _tile(similarity, a, b))]
    return sum((value - mean) ** 2 for tile in tiles for mean in [fmean(tile)] for value in tile)


def _tile(similarity: Sequence[Sequence[float]], rows: range, columns: range) -> list[float]:
    return [similarity[row][column] for row in rows for column in columns if row != column]
