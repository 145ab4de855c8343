"""What a profile's stability means."""

import pytest
import torch

from eavss.stability import Stability
from eavss.verdict import stability_record, stability_summary, verdict


def found(p_value: float = 0.005, tau: float = 0.9) -> Stability:
    """Three blocks, of which a bootstrap selects block 0 never, block 1 in 60% and block 2 always."""
    scores = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    return Stability(
        scores=scores,
        low=scores - 0.5,
        high=scores + 0.5,
        draws=scores.repeat(4, 1),
        frequency=torch.tensor([0.0, 0.6, 1.0], dtype=torch.float64),
        split_half_tau=tau,
        p_value=p_value,
    )


def test_a_record_holds_the_figures_and_the_bootstrap_of_each_block() -> None:
    record = stability_record(found(), [1, 2])
    assert record["layers"] == [
        {"interval": [-0.5, 0.5], "frequency": 0.0},
        {"interval": [0.5, 1.5], "frequency": pytest.approx(0.6)},
        {"interval": [1.5, 2.5], "frequency": 1.0},
    ]
    rest = {key: value for key, value in record.items() if key != "layers"}
    assert rest == stability_summary(found(), [1, 2])
    assert list(rest) == ["split_half_tau", "p_value", "verdict"]


def test_a_signal_and_how_often_the_selection_comes_out_again() -> None:
    text = verdict(found(), [1, 2])
    assert text.startswith("Some blocks respond to hallucination (p = 0.005). The ranking is steady")
    assert "EAVSS selects 1 of the 2 blocks to be trained in at least 80% of bootstraps" in text


def test_an_unsteady_ranking_is_called_so() -> None:
    assert "The ranking is unsteady: two random halves" in verdict(found(tau=0.79), [1, 2])


@pytest.mark.parametrize(("p_value", "signal"), [(0.05, True), (0.051, False)])
def test_no_signal(p_value: float, signal: bool) -> None:
    assert verdict(found(p_value), [1]).startswith("Some blocks respond" if signal else "No signal")
