"""Which blocks can a model do without? Criteria that name the blocks to remove (`eavss.surgery.remove_blocks`)."""

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eavss.batches import Batch
from eavss.blocks import ONE_LOGIT, capture_block_input, capture_block_outputs, find_blocks
from eavss.choices import Criterion
from eavss.errors import EavssError
from eavss.records import LayerScores
from eavss.selectors import count_to_select
from eavss.surgery import skip_blocks


def count_to_remove(share: float, total: int) -> int:
    """Return how many of the blocks to remove: floor(share * L), at least one, at most all but one.

    Raises:
        EavssError: the share is not between 0 and 1, or the model has one block.
    """
    if not 0 < share < 1 or total < 2:
        raise EavssError(f"share: {share} of {total} blocks is not between none and all of them; 0.25 is a quarter")
    return min(total - 1, count_to_select(share, total))


def blocks_to_remove(
    criterion: Criterion,
    count: int,
    scores: Sequence[LayerScores],
    *,
    model: nn.Module,
    batches: Sequence[Batch],
    seed: int = 0,
) -> list[int]:
    """Return the sorted indices of `count` blocks that a criterion names.

    Args:
        criterion: `avss` (arXiv 2411.02117), `avss_scale_free` (ours) and `block_influence` (ShortGPT, arXiv
            2403.03853) name the blocks of the lowest scores; `angular` the run of neighbours across which the last
            token's state turns least (Gromov et al., arXiv 2403.17887); `perplexity` one block at a time, whose
            absence raises the loss least; `last` the deepest; `random` any, by seed.
        scores: every block's scores (`LayerProfile.layer_scores`).
        model: a causal LM in evaluation mode, which `angular` and `perplexity` run.
        batches: the texts that they run it on; the answers' tokens are those whose loss counts.
    """
    total = len(scores)
    match criterion:
        case "avss":
            return _lowest([block["avss"]["paper"] for block in scores], count)
        case "avss_scale_free":
            return _lowest([block["avss"]["scale_free"] for block in scores], count)
        case "block_influence":
            return _lowest([block["block_influence"] for block in scores], count)
        case "angular":
            distances = angular_distances(model, batches, count)
            start = distances.index(min(distances))
            return list(range(start, start + count))
        case "perplexity":
            return remove_greedily(lambda removed: loss_without(model, batches, removed), total, count)
        case "last":
            return list(range(total - count, total))
    return sorted(random.Random(seed).sample(range(total), count))


def _lowest(scores: Sequence[float], count: int) -> list[int]:
    return sorted(sorted(range(len(scores)), key=lambda layer: (scores[layer], layer))[:count])


@torch.no_grad()
def angular_distances(model: nn.Module, batches: Sequence[Batch], count: int) -> list[float]:
    """Return how far `count` neighbouring blocks turn a text's last token, for each block that they may start at.

    It is arccos(cosine(x, y)) / pi of what enters the first of them and what leaves the last, averaged over texts
    (Gromov et al., arXiv 2403.17887, equation 7), for L - count + 1 starts.
    """
    turned: list[Tensor] = []
    for batch in batches:
        stream = _last_states(model, batch.to(next(model.parameters()).device))
        cosines = F.cosine_similarity(stream[:-count], stream[count:], dim=-1)  # (L - count + 1, B)
        turned.append(cosines.clamp(-1, 1).arccos() / math.pi)
    found: list[float] = torch.cat(turned, dim=1).mean(1).tolist()
    return found


def _last_states(model: nn.Module, batch: Batch) -> Tensor:
    """Return each text's last token as it enters the first block and leaves every block, (L + 1, B, H)."""
    blocks = find_blocks(model)
    rows = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
    last = batch.attention_mask.sum(1) - 1  # (B,)
    states: list[Tensor] = []

    def keep(stream: Tensor) -> None:
        states.append(stream[rows, last].double())

    with (
        capture_block_input(blocks, 0, keep),
        capture_block_outputs(blocks, list(range(len(blocks.modules))), lambda _layer, output: keep(output)),
    ):
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=ONE_LOGIT)
    return torch.stack(states)


def remove_greedily(loss: Callable[[list[int]], float], total: int, count: int) -> list[int]:
    """Remove one block after the other, each time the one without which `loss` is lowest; of equals the deepest.

    Args:
        loss: the loss without the blocks of a sorted list.
        total: how many blocks there are.
        count: how many to remove.
    """
    removed: list[int] = []
    for _ in range(count):
        others = [layer for layer in range(total) if layer not in removed]
        best = min(others, key=lambda layer: (loss(sorted([*removed, layer])), -layer))
        removed = sorted([*removed, best])
    return removed


@torch.no_grad()
def loss_without(model: nn.Module, batches: Sequence[Batch], removed: Sequence[int]) -> float:
    """Return the mean loss of the answers' tokens in nats, with the blocks `removed` skipped."""
    total, tokens = 0.0, 0
    for batch in (each.to(next(model.parameters()).device) for each in batches):
        with skip_blocks(model, removed):
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        mask = batch.answer_mask[:, 1:]
        losses = F.cross_entropy(logits[:, :-1][mask].float(), batch.input_ids[:, 1:][mask], reduction="sum")
        total, tokens = total + float(losses), tokens + int(mask.sum())
    return total / tokens
