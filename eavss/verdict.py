"""What a profile's stability means, as a record and in words."""

from typing import Any

from eavss.stability import Stability

_ALPHA = 0.05
_STEADY_TAU = 0.8
_OFTEN = 0.8


def stability_record(found: Stability, selected: list[int]) -> dict[str, Any]:
    """What `layers.json` holds: {"split_half_tau", "p_value", "verdict", "layers": [{"interval", "frequency"}, ...]}.

    Args:
        selected: the blocks that the run trains.
    """
    return {
        "split_half_tau": found.split_half_tau,
        "p_value": found.p_value,
        "verdict": verdict(found, selected),
        "layers": [
            {"interval": [low, high], "frequency": frequency}
            for low, high, frequency in zip(
                found.low.tolist(), found.high.tolist(), found.frequency.tolist(), strict=True
            )
        ],
    }


def verdict(found: Stability, selected: list[int]) -> str:
    """Two plain sentences: whether there is a signal, and whether the selection would come out again."""
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
