"""Figures of activity and similarity on a tiny model, against their definitions."""

from statistics import fmean

import pytest
import torch
from scipy.stats import spearmanr

from data.sentence_pairs import SentencePair, load_sentence_pairs
from eavss.activation import block_matrices, mean_activation, pattern_similarity
from eavss.batches import TokenSequence
from tests.toys import BLOCKS, tiny_model, tiny_tokenizer
from train.comparison.activation_measures import (
    activity_of,
    compare_domains,
    compare_sentences,
    partial_rank_correlation,
    rank_correlation,
)
from train.comparison.domains import Domain

JUDGED = [TokenSequence((1, 2), 1, 2)]
ONE = Domain("one", [(5, 17, 250), (9, 8), (33, 2, 1)], JUDGED)
OTHER = Domain("other", [(100, 7, 3), (1, 1), (60, 200)], JUDGED)


def test_activity_by_block_and_matrix() -> None:
    model = tiny_model("llama")
    mean = mean_activation(model, ONE.measured)
    found = activity_of(model, ONE, mean)
    for layer, own in enumerate(block_matrices(model)):
        every = torch.cat([mean[name].flatten() for name in own])
        assert found["mean"][layer] == pytest.approx(float(every.mean()))
        for kind, threshold in found["thresholds"].items():
            assert found["active"][kind][layer] == pytest.approx(float((every > threshold).double().mean()))
    query = mean["model.layers.2.self_attn.q_proj.weight"]
    share = found["matrices"]["scale_free"]["self_attn.q_proj.weight"][2]
    assert share == pytest.approx(float((query > found["thresholds"]["scale_free"]).double().mean()))
    assert (found["domain"], found["n"]) == ("one", 3)


def test_a_matrix_that_a_block_lacks_has_no_share() -> None:
    model = tiny_model("llama")
    model.model.layers[2].mlp.up_proj = model.model.layers[0].mlp.up_proj
    found = activity_of(model, ONE, mean_activation(model, ONE.measured))
    shares = found["matrices"]["paper"]["mlp.up_proj.weight"]
    assert [value is None for value in shares] == [False, False, True, False]


def test_texts_of_one_domain_are_never_compared_with_themselves() -> None:
    model = tiny_model("llama")
    within, across = compare_domains(model, ONE, [ONE, OTHER], 2)
    assert [(each["one"], each["other"], each["n"]) for each in (within, across)] == [
        ("one", "one", 2),
        ("one", "other", 2),
    ]
    patterns = [mean_activation(model, [text]) for text in ONE.measured[:2]]
    for each, texts in ((within, ONE.measured[1:]), (across, OTHER.measured[:2])):
        expected = [pattern_similarity(model, p, text) for p, text in zip(patterns, texts, strict=True)]
        assert each["blocks"] == pytest.approx([fmean(own) for own in zip(*expected, strict=True)])
    assert max(within["blocks"]) < 0.999


def test_sentences_by_the_definition() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    pairs = load_sentence_pairs("stsb", "samples")[::4]
    found = compare_sentences(model, tokenizer, "stsb", pairs, 0)
    similarity, shared = [], []
    for pair in pairs:
        one, other = (tokenizer(text)["input_ids"] for text in (pair.one, pair.other))
        similarity.append(pattern_similarity(model, mean_activation(model, [one]), other))
        shared.append(len({*one} & {*other}) / len({*one} | {*other}))
    scores = [pair.score for pair in pairs]
    expected = [float(spearmanr([own[layer] for own in similarity], scores).statistic) for layer in range(BLOCKS)]
    assert found["blocks"] == pytest.approx(expected)
    assert found["deep"] == pytest.approx(expected[2])  # of four blocks, block 2 alone is deep
    assert found["shallow"] == pytest.approx(spearmanr([sum(own[:2]) for own in similarity], scores).statistic)
    assert found["overlap"] == pytest.approx(spearmanr(shared, scores).statistic)
    assert all(low <= found[key] <= high for key, (low, high) in found["intervals"].items())  # type: ignore[literal-required]
    assert compare_sentences(model, tokenizer, "stsb", pairs, 0) == found


def test_judgements_that_do_not_differ_correlate_with_nothing() -> None:
    pairs = [SentencePair(f"a {number}", f"b {number}", 3.0) for number in range(3)]
    assert compare_sentences(tiny_model("llama"), tiny_tokenizer(), "stsb", pairs, 0)["deep"] == 0


def test_partial_correlation_by_hand() -> None:
    """With 1 2 3 4, the ranks 2 1 4 3 correlate by .6, and 1 3 2 4 by .8; these two by 0.

    (0 - .6 * .8) / sqrt((1 - .36) * (1 - .64)) = -.48 / .48 = -1.
    """
    a, b, given = [2, 1, 4, 3], [1, 3, 2, 4], [1, 2, 3, 4]
    assert rank_correlation(a, given) == pytest.approx(0.6)
    assert rank_correlation(b, given) == pytest.approx(0.8)
    assert rank_correlation(a, b) == pytest.approx(0.0)
    assert partial_rank_correlation(a, b, given) == pytest.approx(-1.0)
    assert partial_rank_correlation(given, b, given) == 0
