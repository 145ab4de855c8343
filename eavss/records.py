"""The JSON records of a profile: each block's scores, and how steady their ranking is."""

from typing import NotRequired, TypedDict


class AvssScores(TypedDict):
    """AVSS of one block, by estimator."""

    paper: float
    scale_free: float


class EavssScores(TypedDict):
    """EAVSS of one block, by form."""

    contrast: float
    conditional: float


class BlockBootstrap(TypedDict):
    """What the bootstrap over questions says about one block.

    Args:
        interval: the low and the high end of the 95% interval of its EAVSS.
        frequency: the share of bootstraps in which EAVSS selects the block.
    """

    interval: list[float]
    frequency: float


class LayerScores(TypedDict):
    """The scores of one block, as `layers.json` holds them (keys may be added, never renamed).

    `probe` (`eavss.probes`), `gradient` (`eavss.gradients`), `activity` (`eavss.activity`), `patching`, `dropping`,
    `repeating` (`eavss.causal`) and `bootstrap` are there only where they were computed.
    """

    layer: int
    avss: AvssScores
    navss: float
    cavss: float
    block_influence: float
    hsav: float
    hss: float
    eavss: EavssScores
    probe: NotRequired[float]
    gradient: NotRequired[float]
    activity: NotRequired[float]
    patching: NotRequired[float]
    dropping: NotRequired[float]
    repeating: NotRequired[float]
    bootstrap: NotRequired[BlockBootstrap]


class StabilitySummary(TypedDict):
    """How steady a ranking of blocks is, in figures and in words (`eavss.stability.Stability`)."""

    split_half_tau: float
    p_value: float
    verdict: str


class StabilityRecord(StabilitySummary):
    """The same with the bootstrap of every block."""

    layers: list[BlockBootstrap]
