"""The scores, against values worked by hand."""

import itertools

import pytest
import torch
from torch import Tensor

from eavss import scores
from eavss.moments import TokenMoments, summarise, token_moments


def moments(**sums: list[float]) -> TokenMoments:
    """The moments of two blocks; 2 sequences of 10 tokens in all, with 4 hidden units, unless said."""
    given = {
        "sequences": [2, 2],
        "tokens": [10, 10],
        "units": [40, 40],
        "variance": [6, 10],
        "squares": [80, 160],
        "near_zero": [8, 2],
        "near_zero_relative": [20, 10],
        **sums,
    }
    return TokenMoments(**{name: torch.tensor(values, dtype=torch.float64) for name, values in given.items()})


def moments_of(hidden: Tensor) -> TokenMoments:
    mask = torch.ones(hidden.shape[:2], dtype=torch.bool)
    found = summarise(hidden, hidden, mask.unsqueeze(1))
    return token_moments(found.statistics.unsqueeze(0), found.means.squeeze(1).unsqueeze(0), mask)


def test_activation_variance() -> None:
    """The sums 6 and 10, each over 2 sequences."""
    assert scores.activation_variance(moments()).tolist() == [3, 5]


def test_block_influence() -> None:
    """Sums of 1 - cosine of 4 and 1 over 10 tokens."""
    assert scores.block_influence(torch.tensor([4.0, 1.0]), moments()).tolist() == [0.4, 0.1]


def test_activation_sparsity() -> None:
    """8 and 2 of 40 units."""
    assert scores.activation_sparsity(moments()).tolist() == [0.2, 0.05]


def test_sparsity_of_no_event_is_half_an_event() -> None:
    """0 of 40 counts as 0.5 / 40 = 0.0125; a count of 1 stays 1 / 40."""
    assert scores.activation_sparsity(moments(near_zero=[0, 1])).tolist() == [0.0125, 0.025]


def test_avss() -> None:
    """AV / AS: 3 / 0.2 = 15 and 5 / 0.05 = 100; where nothing is near zero, 5 / 0.0125 = 400."""
    torch.testing.assert_close(scores.avss(moments()), torch.tensor([15.0, 100.0]).double())
    torch.testing.assert_close(scores.avss(moments(near_zero=[8, 0])), torch.tensor([15.0, 400.0]).double())


def test_scale_free_avss() -> None:
    """AV over the mean square: 3 / (80 / 40) = 1.5 and 5 / (160 / 40) = 1.25; over 20 / 40 and 10 / 40: 3 and 5."""
    torch.testing.assert_close(scores.scale_free_avss(moments()), torch.tensor([3.0, 5.0]).double())


def test_scale_free_avss_of_no_event() -> None:
    """1.25 / (0.5 / 40) = 100."""
    found = scores.scale_free_avss(moments(near_zero_relative=[20, 0]))
    torch.testing.assert_close(found, torch.tensor([3.0, 100.0]).double())


@pytest.mark.parametrize("scale", [1e-2, 8.0, 1e3])
def test_scale_changes_avss_and_leaves_scale_free_avss(scale: float) -> None:
    hidden = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    once, scaled = moments_of(hidden), moments_of(scale * hidden)
    torch.testing.assert_close(scores.scale_free_avss(scaled), scores.scale_free_avss(once), rtol=1e-5, atol=0)
    assert not torch.allclose(scores.avss(scaled), scores.avss(once), rtol=0.5)


def test_normalised() -> None:
    """1, 3 and 4 of 8."""
    assert scores.normalised(torch.tensor([1.0, 3.0, 4.0])).tolist() == [0.125, 0.375, 0.5]


def test_cumulative_is_in_depth_order() -> None:
    """3, 1 and 4 of 8, added up from the first block: not sorted before."""
    assert scores.cumulative(torch.tensor([3.0, 1.0, 4.0])).tolist() == [0.375, 0.5, 1.0]


@pytest.mark.parametrize(
    ("differences", "share"),
    [
        pytest.param([2, 2, 2], 1, id="all alike"),
        pytest.param([-2, -2], 1, id="all alike, below zero"),
        pytest.param([1, -1], -1, id="opposite signs, n = 2"),
        pytest.param([0, 0, 0], 0, id="no change"),
        # R = 2^2 / ((1 + 9) / 2) = 0.8, rho = (2 * 0.8 - 1) / 1
        pytest.param([1, 3], 0.6, id="unlike in size"),
        # R = 1^2 / 3 = 1/3, rho = (3 / 3 - 1) / 2
        pytest.param([3, 0, 0], 0, id="one of three"),
        # R = 0, rho = -1 / 3
        pytest.param([1, 1, -1, -1], -1 / 3, id="balanced, n = 4"),
        # R = (2 / 4)^2 / 1 = 1/4, rho = (4 / 4 - 1) / 3
        pytest.param([1, 1, 1, -1], 0, id="three to one"),
    ],
)
def test_systematic_share(differences: list[float], share: float) -> None:
    column = torch.tensor(differences, dtype=torch.float64).unsqueeze(1)  # (n, 1)
    assert scores.systematic_share(column).item() == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_systematic_share_is_free_of_scale(scale: float) -> None:
    differences = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0)).double()
    found = scores.systematic_share(scale * differences)
    torch.testing.assert_close(found, scores.systematic_share(differences), rtol=1e-10, atol=1e-12)


def test_systematic_share_keeps_blocks_and_units_apart() -> None:
    differences = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    found = scores.systematic_share(differences)
    assert found.shape == (2, 3)
    for layer, unit in itertools.product(range(2), range(3)):
        alone = scores.systematic_share(differences[:, layer, unit : unit + 1])
        assert found[layer, unit].item() == pytest.approx(alone.item(), rel=1e-12)


def test_systematic_share_is_zero_on_the_mean_of_all_sign_flips() -> None:
    """Over all 16 flips of 4 questions the mean of mean(d)^2 is sum(d^2) / 16, so R is 1 / 4 and rho 0 on the mean."""
    differences = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0)).double()
    shares = [
        scores.systematic_share(torch.tensor(signs).double().view(4, 1, 1) * differences)
        for signs in itertools.product((1, -1), repeat=4)
    ]
    assert torch.stack(shares).mean(0).abs().max() < 1e-12
    assert torch.stack(shares).abs().max() > 0.1


def two_questions(*units: tuple[float, float]) -> Tensor:
    """Differences of two questions in one block: (2, 1, H) from H pairs."""
    return torch.tensor(units, dtype=torch.float64).T.unsqueeze(1)


# rho of the units: 1 (alike), -1 (opposite), 0 (no change), 0.6 (1 and 3).
MIXED = two_questions((2, 2), (1, -1), (0, 0), (1, 3))


def test_hsav() -> None:
    """(1 - 1 + 0 + 0.6) / 4 = 0.15."""
    assert scores.hsav(MIXED).tolist() == pytest.approx([0.15])


def test_hss() -> None:
    """-1 and 0 are below 0.02: 2 units of 4."""
    assert scores.hss(MIXED).tolist() == [0.5]


@pytest.mark.parametrize(("second", "share"), [(0.0099, 1.0), (0.0101, 0.5)])
def test_hss_threshold(second: float, share: float) -> None:
    """d = (1, x) has rho 2x / (1 + x^2): 0.0198 at 0.0099, 0.0202 at 0.0101; beside it a unit of rho 0."""
    assert scores.hss(two_questions((1, second), (0, 0))).tolist() == [share]


def test_hss_is_at_least_one_unit() -> None:
    """All four units answer alike: none of them is sparse, and 1 / 4 is taken."""
    assert scores.hss(two_questions(*[(1, 1)] * 4)).tolist() == [0.25]


def test_eavss_contrast() -> None:
    """0.15 / 0.5 = 0.3; where all four units answer alike, 1 / (1 / 4) = 4."""
    assert scores.eavss_contrast(MIXED).tolist() == pytest.approx([0.3])
    assert scores.eavss_contrast(two_questions(*[(1, 1)] * 4)).tolist() == pytest.approx([4])


def test_contrast_scores_of_many_blocks_are_those_of_each() -> None:
    differences = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0)).double() + 0.5
    for score in (scores.hsav, scores.hss, scores.eavss_contrast):
        found = score(differences)
        assert found.shape == (3,)
        for layer in range(3):
            assert found[layer].item() == pytest.approx(score(differences[:, layer : layer + 1]).item())


def test_contrast_scores_of_shares_by_hand() -> None:
    """Mean (0.5 + 0.01 + 0 + 0.49) / 4 = 0.25 over a half that is below 0.02: 0.5. With none below, over 1/4."""
    shares = torch.tensor([[0.5, 0.01, 0.0, 0.49], [0.5, 0.5, 0.5, 0.5]])
    assert scores.eavss_of_shares(shares).tolist() == pytest.approx([0.5, 2.0])


def test_eavss_conditional() -> None:
    """AV / AS of the hallucinated answers' tokens: 3 / 0.2 = 15 and 5 / 0.05 = 100."""
    torch.testing.assert_close(scores.eavss_conditional(moments()), torch.tensor([15.0, 100.0]).double())


def test_the_unpaired_share_by_hand() -> None:
    """Two groups of two: 0, 2 and 4, 6. SST = 20, SSB = 16, MSW = 4 / 2 = 2, so (16 - 2) / (20 + 2)."""
    states = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    wrong = torch.tensor([False, False, True, True])
    assert scores.unpaired_share(states, wrong).tolist() == pytest.approx([14 / 22])
    assert scores.unpaired_share(torch.ones(4, 1), wrong).tolist() == [0.0]


def test_the_unpaired_share_is_zero_on_average_for_random_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(40, 2000, generator=generator, dtype=torch.float64)
    wrong = torch.arange(40) % 4 == 0
    assert abs(float(scores.unpaired_share(states, wrong).mean())) < 0.003
