"""Token statistics: hand-worked values, and any division of the data against the whole."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from eavss.moments import TokenMoments, cosine_distance_sums, masked_means, summarise, token_moments, token_statistics


def numbers(moments: TokenMoments) -> dict[str, float]:
    return {field.name: getattr(moments, field.name).item() for field in fields(moments)}


def moments_of(hidden: Tensor, mask: Tensor) -> TokenMoments:
    """Token statistics of one block."""
    found = summarise(hidden, hidden, mask.unsqueeze(1))
    return token_moments(found.statistics.unsqueeze(0), found.means[:, 0].unsqueeze(0), mask)


def naive(hidden: Tensor, mask: Tensor) -> dict[str, float]:
    """Every sum over the tokens themselves, one sequence at a time."""
    sums = dict.fromkeys((field.name for field in fields(TokenMoments)), 0.0)
    for states, counted in zip(hidden.double(), mask.bool(), strict=True):
        x = states[counted]  # (T', H)
        if not len(x):
            continue
        rms = x.square().mean(1, keepdim=True).sqrt()
        sums["sequences"] += 1
        sums["tokens"] += len(x)
        sums["units"] += x.numel()
        sums["variance"] += x.mean(0).var().item()
        sums["squares"] += x.square().sum().item()
        sums["near_zero"] += (x.abs() < 1e-5).sum().item()
        sums["near_zero_relative"] += (x.abs() < 0.1 * rms).sum().item()
    return sums


def random_batch(rows: int = 5, tokens: int = 6, hidden: int = 8) -> tuple[Tensor, Tensor]:
    """States of which some are nearly and some exactly 0, and a mask with gaps; the last row counts no token."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(rows, tokens, hidden, generator=generator)
    states[torch.rand(states.shape, generator=generator) < 0.2] = 0
    states[torch.rand(states.shape, generator=generator) < 0.2] *= 1e-6
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    mask[:, 0] = True
    mask[-1] = False
    return states, mask


def test_token_statistics() -> None:
    """Token (3, 4): squares 9 + 16 = 25, RMS sqrt(25 / 2) = 3.54, nothing below 1e-5 or below 0.354.

    Token (2, 0.000009): squares 4 (and 8e-11), one below 1e-5, the same below 0.1 * 1.41.
    Token (10, 0.5): squares 100.25, RMS 7.08, nothing below 1e-5, 0.5 below 0.708.
    Token (0, 0): squares 0, two below 1e-5, none below 0.1 * 0.
    """
    hidden = torch.tensor([[[3, 4], [2, 9e-6]], [[10, 0.5], [0, 0]]], dtype=torch.float32)
    expected = [[[25, 0, 0], [4, 1, 1]], [[100.25, 0, 1], [0, 2, 0]]]
    torch.testing.assert_close(token_statistics(hidden), torch.tensor(expected))


def test_size_counts_not_sign() -> None:
    hidden = torch.tensor([[[-3.0, -4.0], [-10.0, 0.5]]])
    torch.testing.assert_close(token_statistics(hidden), torch.tensor([[[25.0, 0, 0], [100.25, 0, 1]]]))


@pytest.mark.parametrize(("value", "counted"), [(0.99e-5, 1), (1.01e-5, 0), (-0.99e-5, 1)])
def test_paper_epsilon(value: float, counted: int) -> None:
    assert token_statistics(torch.tensor([[[1.0, value]]]))[0, 0, 1] == counted


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_relative_epsilon_is_free_of_scale(scale: float) -> None:
    """Token (1, 1, 1, x): RMS sqrt(3 / 4) = 0.866 and a little, so 0.08 counts and 0.09 does not."""
    tokens = scale * torch.tensor([[[1, 1, 1, 0.08], [1, 1, 1, 0.09]]])
    assert token_statistics(tokens)[0, :, 2].tolist() == [1, 0]


def test_masked_means() -> None:
    """Row 0: ((1, 2) + (5, 6)) / 2 = (3, 4), the middle token not counted. Row 1: one token. Row 2: none, so 0."""
    hidden = torch.tensor([[[1, 2], [90, 90], [5, 6]], [[7, 8], [90, 90], [90, 90]], [[90, 90]] * 3]).float()
    mask = torch.tensor([[True, False, True], [True, False, False], [False, False, False]])
    found = masked_means(hidden, torch.stack([mask, ~mask], dim=1))
    torch.testing.assert_close(found[:, 0], torch.tensor([[3.0, 4.0], [7.0, 8.0], [0.0, 0.0]]))
    torch.testing.assert_close(found[:, 1], torch.tensor([[90.0, 90.0]] * 3))


def test_token_moments() -> None:
    """Two sequences of H = 2.

    Row 0 has tokens (1, 3) and (3, 9): mean (2, 6), variance ((2 - 4)^2 + (6 - 4)^2) / (2 - 1) = 8,
    squares 1 + 9 + 9 + 81 = 100. Row 1 has the token (0, 4): variance ((0 - 2)^2 + (4 - 2)^2) / 1 = 8, squares 16,
    one near zero by either measure. Sums: variance 16, squares 116, 3 tokens, 6 units.
    """
    hidden = torch.tensor([[[1.0, 3.0], [3.0, 9.0]], [[0.0, 4.0], [90.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    assert numbers(moments_of(hidden, mask)) == {
        "sequences": 2,
        "tokens": 3,
        "units": 6,
        "variance": 16,
        "squares": 116,
        "near_zero": 1,
        "near_zero_relative": 1,
    }


def test_sequence_without_a_token_is_not_counted() -> None:
    """Not even where its mean over other tokens is given, as that of a truthful answer is among hallucinated ones."""
    hidden = torch.tensor([[[1.0, 3.0]], [[5.0, 90.0]]])
    alone = moments_of(hidden[:1], torch.tensor([[True]]))
    both = token_moments(
        token_statistics(hidden).unsqueeze(0), hidden.mean(1).unsqueeze(0), torch.tensor([[True], [False]])
    )
    assert numbers(both) == numbers(alone)


def test_sums_are_double() -> None:
    """Tokens of squares 1e8 and then 1: in float32, 1e8 + 1 is 1e8."""
    hidden = torch.tensor([[[1e4, 0.0], [1.0, 0.0]]])
    moments = moments_of(hidden, torch.tensor([[True, True]]))
    assert moments.squares.item() == 1e8 + 1
    assert {getattr(moments, field.name).dtype for field in fields(moments)} == {torch.float64}


def test_token_moments_equal_the_naive_sums() -> None:
    hidden, mask = random_batch()
    assert numbers(moments_of(hidden, mask)) == pytest.approx(naive(hidden, mask), rel=1e-5)


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4)])
def test_parts_add_up_to_the_whole(cuts: tuple[int, ...]) -> None:
    hidden, mask = random_batch()
    parts = [moments_of(*part) for part in zip(hidden.tensor_split(cuts), mask.tensor_split(cuts), strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert numbers(total) == pytest.approx(naive(hidden, mask), rel=1e-5)


@pytest.mark.parametrize("garbage", [1e6, -1e6, 0.0, 1e-7])
def test_tokens_that_are_not_counted_do_not_matter(garbage: float) -> None:
    hidden, mask = random_batch()
    filled = torch.where(mask.unsqueeze(-1), hidden, garbage)
    assert numbers(moments_of(filled, mask)) == pytest.approx(numbers(moments_of(hidden, mask)), rel=1e-6)


def test_padding_does_not_matter() -> None:
    hidden, mask = random_batch()
    wide = torch.nn.functional.pad(hidden, (0, 0, 0, 3), value=7.0)
    padded = moments_of(wide, torch.nn.functional.pad(mask, (0, 3)))
    assert numbers(padded) == pytest.approx(numbers(moments_of(hidden, mask)), rel=1e-6)


def test_blocks_keep_their_order() -> None:
    hidden, mask = random_batch()
    parts = [summarise(hidden, scale * hidden, mask.unsqueeze(1)) for scale in (1.0, 2.0, 3.0)]
    statistics, means = (torch.stack([getattr(part, name) for part in parts]) for name in ("statistics", "means"))
    stacked = token_moments(statistics, means.squeeze(2), mask)
    for layer, scale in enumerate((1.0, 2.0, 3.0)):
        alone = numbers(moments_of(scale * hidden, mask))
        assert {f.name: getattr(stacked, f.name)[layer].item() for f in fields(TokenMoments)} == pytest.approx(alone)
    torch.testing.assert_close(stacked.squares / stacked.squares[0], torch.tensor([1.0, 4.0, 9.0]).double())


@pytest.mark.parametrize("numbers_at_once", [1, 100, 1 << 20])
def test_rows_computed_apart_are_the_same(numbers_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, mask = random_batch()
    masks = torch.stack([mask, mask.roll(1, 0)], dim=1)
    monkeypatch.setattr("eavss.moments._CACHED_NUMBERS", numbers_at_once)
    before, after = torch.ones_like(hidden).bfloat16(), hidden.bfloat16()
    found = summarise(before, after, masks)
    torch.testing.assert_close(found.statistics, token_statistics(after.float()))
    torch.testing.assert_close(found.means, masked_means(after.float(), masks))
    torch.testing.assert_close(found.products, after.float().sum(-1))


def test_cosine_distance_sums() -> None:
    """One token, two blocks: (3, 4) to (4, 3), cosine 24 / 25, then to (-8, -6), cosine -1. Another token is masked."""
    states = torch.tensor([[[3.0, 4], [9, 9]], [[4, 3], [1, 2]], [[-8, -6], [0, 0]]]).unsqueeze(1)  # (3, B, T, H)
    statistics = torch.stack([token_statistics(each) for each in states[1:]])
    products = (states[1:] * states[:-1]).sum(-1)
    found = cosine_distance_sums(states[0], statistics, products, torch.tensor([[True, False]]))
    torch.testing.assert_close(found, torch.tensor([0.04, 2.0]).double())
    zeros = torch.zeros(1, 1, 2)
    statistics = token_statistics(zeros).unsqueeze(0)
    nothing = cosine_distance_sums(zeros, statistics, torch.zeros(1, 1, 1), torch.tensor([[True]]))
    assert nothing.tolist() == [1.0]  # states of zeros have no direction
