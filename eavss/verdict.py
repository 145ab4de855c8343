"""Put a profile's stability into a record and into words."""

from collections.abc import Sequence

from eavss.records import BlockBootstrap, StabilityRecord, StabilitySummary
from eavss.stability import Stability

_ALPHA = 0.05
_STEADY_TAU = 0.8
_OFTEN = 0.8


def stability_record(found: Stability, selected: Sequence[int]) -> StabilityRecord:
    """Return the stability of a selection, and the bootstrap of every block.

    Args:
        selected: the blocks that are trained.
    """
    return {**stability_summary(found, selected), "layers": block_bootstraps(found)}


def stability_summary(found: Stability, selected: Sequence[int]) -> StabilitySummary:
    """Return the stability of a selection in figures and in words."""
    return {
        "split_half_tau": found.split_half_tau,
        "p_value": found.p_value,
        "verdict": verdict(found, selected),
    }


def block_bootstraps(found: Stability) -> list[BlockBootstrap]:
    """Return the bootstrap of every block, in depth order."""
    columns = (found.low.tolist(), found.high.tolist(), found.frequency.tolist())
    return [{"interval": [low, high], "frequency": frequency} for low, high, frequency in zip(*columns, strict=True)]


def verdict(found: Stability, selected: Sequence[int]) -> str:
    """Say in two plain sentences whether there is a signal, and whether the selection would come out again."""
    if found.p_value > _ALPHA:
        return (
            f"No signal: with the answers' signs flipped at random a block scores as high (p = {found.p_value:.3f}). "
            "Do not trust this selection; score more questions, or train other blocks just as well."
        )
    often = sum(found.frequency[layer].item() >= _OFTEN for layer in selected)
    steady = "steady" if found.split_half_tau >= _STEADY_TAU else "unsteady"
    return (
        f"Some blocks respond to hallucination (p = {found.p_value:.3f}). The ranking is {steady}: two random halves "
        f"of the questions agree with Kendall's tau {found.split_half_tau:.2f}, and EAVSS selects {often} of the "
        f"{len(selected)} blocks to be trained in at least {_OFTEN:.0%} of bootstraps."
    )
