"""The tables and the findings of a study, by hand."""

import copy

import pytest

from tests.train.comparison.toy_activation import STUDY
from train.comparison.activation_tables import (
    block_table,
    findings,
    halves,
    matrix_table,
    pair_means,
    pruned_table,
    shares_of,
)


def cells(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()]


def test_means_over_domains_and_pairs() -> None:
    assert shares_of(STUDY["activity"], "scale_free") == pytest.approx([0.7, 0.5, 0.3, 0.1])
    assert pair_means(STUDY["similarity"], within=True) == pytest.approx([0.8, 0.8, 0.8, 0.9])
    assert pair_means(STUDY["similarity"], within=False) == pytest.approx([0.7, 0.6, 0.4, 0.3])
    assert pair_means(STUDY["similarity"][:1], within=False) is None
    assert halves([1.0, 2.0, 6.0]) == (1.0, 4.0)
    assert halves([1.0]) == (1.0, 1.0)


def test_a_row_for_each_block() -> None:
    header, _, *rows = cells(block_table(STUDY))
    assert header[0] == "block"
    assert header[-1] == "stsb Spearman"
    assert rows[3] == ["3", "0.900", "0.100", "0.900", "0.300", "0.400"]
    assert len(rows) == 4
    assert block_table({**STUDY, "activity": [], "similarity": [], "sentences": []}) == ""


def test_a_matrix_that_a_block_lacks_is_left_out_there() -> None:
    """The second matrix has .5 in block 0, none in block 1, .5 and .1 in the others: .5, and the mean .3."""
    assert cells(matrix_table(STUDY))[2:] == [["mlp", "0.600", "0.200"], ["attn", "0.500", "0.300"]]


def test_trials_in_the_order_of_their_sparsity_with_perplexities() -> None:
    rows = cells(pruned_table(STUDY["pruned"]))
    assert rows[0] == ["pruned", "a", "b"]
    assert rows[2] == ["whole", "1.000", "2.718"]
    assert [row[0].split(", ")[-1] for row in rows[3:]] == ["uniform", "active (up to 0.1 away)", "uniform", "uniform"]
    assert rows[3][1:] == ["7.389", "7.389"]
    assert pruned_table([]) == ""


def test_each_finding_by_hand() -> None:
    """Shares of .7, .5, .3, .1 are .6 and .2 by halves.

    Active ratios: 1.5 - 2 = -.5 nats. Calibrated on the own domain, a has 1 beside 2, and b 2.5 beside 3.
    """
    density, free, across, within, stsb, ratios, calibration = findings(STUDY, 0)
    assert "0.900 in the first half, 0.900 in the second; rank correlation with depth +0.00" in density
    assert "(0.1, 0.1): share 0.600 in the first half, 0.200 in the second; rank correlation with depth -1.00" in free
    assert across == (
        "texts of two domains: similarity 0.650 in the first half, 0.350 in the second; "
        "rank correlation with depth -1.00"
    )
    assert "texts of one domain: similarity 0.800 in the first half, 0.850 in the second" in within
    assert "stsb: rank correlation with 9 human judgements 0.30 (0.20 to 0.40) in blocks 2-2, 0.15" in stsb
    assert "of shared tokens 0.50; deep beyond these 0.05" in stsb
    assert ratios == (
        "50% by magnitude, active (up to 0.1 away): -0.500 nats a token beside uniform (-0.500 to -0.500)"
    )
    assert "50% by activation: -0.750 nats a token with the own domain's calibration" in calibration
    assert calibration.endswith("lower in 2 of 2 domains")


def test_what_is_not_measured_is_left_out() -> None:
    study = copy.deepcopy(STUDY)
    study["activity"], study["sentences"], study["pruned"] = [], [], study["pruned"][:1]
    assert [line.split(":")[0] for line in findings(study, 0)] == ["texts of two domains", "texts of one domain"]
