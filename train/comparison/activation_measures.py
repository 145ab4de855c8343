"""Measure how active a model's parameters are in a domain, and how alike the patterns of texts and sentences are."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from data.sentence_pairs import SentencePair
from eavss.activation import active_shares, block_matrices, mean_activation, pattern_similarity, threshold_of
from eavss.blocks import find_blocks
from eavss.choices import THRESHOLDS
from eavss.encoding import text_ids
from train.comparison.activation import Activity, PatternFigures, SentenceFigures, deep_blocks
from train.comparison.domains import Domain

Floats = NDArray[np.float64]
_RESAMPLES = 1000


def activity_of(model: nn.Module, domain: Domain, mean: Mapping[str, Tensor]) -> Activity:
    """Summarise the mean activation of a domain's texts by block and by matrix.

    Args:
        model: the model that it is of.
        domain: the texts.
        mean: see `eavss.activation.mean_activation`.
    """
    matrices = block_matrices(model)
    path = find_blocks(model).path
    sizes = [{name: float(parameter.numel()) for name, parameter in own.items()} for own in matrices]
    means = {name: float(activation.double().mean()) for name, activation in mean.items()}
    thresholds = {kind: threshold_of(kind, mean, len(matrices)) for kind in THRESHOLDS}
    shares = {kind: active_shares(mean, threshold) for kind, threshold in thresholds.items()}
    inner = [{name.removeprefix(f"{path}.{layer}."): name for name in own} for layer, own in enumerate(matrices)]
    names = list(dict.fromkeys(name for own in inner for name in own))
    return {
        "domain": domain.name,
        "n": len(domain.measured),
        "mean": [_weighted(means, own) for own in sizes],
        "thresholds": thresholds,
        "active": {kind: [_weighted(found, own) for own in sizes] for kind, found in shares.items()},
        "matrices": {
            kind: {name: [found[own[name]] if name in own else None for own in inner] for name in names}
            for kind, found in shares.items()
        },
    }


def _weighted(values: Mapping[str, float], sizes: Mapping[str, float]) -> float:
    return sum(values[name] * size for name, size in sizes.items()) / sum(sizes.values())


def compare_domains(model: nn.Module, one: Domain, others: Sequence[Domain], count: int) -> list[PatternFigures]:
    """Compare the patterns of a domain's first `count` texts with those of as many texts of each other domain.

    Texts of one domain are each compared with the next one, those of two domains pairwise.

    Args:
        others: may contain `one`.
        count: below the number of texts of a domain.
    """
    found: dict[str, list[list[float]]] = {other.name: [] for other in others}
    for number in range(count):
        pattern = mean_activation(model, [one.measured[number]])
        for other in others:
            text = other.measured[number + 1 if other.name == one.name else number]
            found[other.name].append(pattern_similarity(model, pattern, text))
    return [
        {"one": one.name, "other": name, "n": count, "blocks": [fmean(own) for own in zip(*values, strict=True)]}
        for name, values in found.items()
    ]


def compare_sentences(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, name: str, pairs: Sequence[SentencePair], seed: int
) -> SentenceFigures:
    """Correlate how alike the two sentences' patterns are with how alike people find their meanings.

    Args:
        name: the set's.
        pairs: three at least, with two different judgements.
        seed: of the bootstrap.
    """
    similarity, overlaps = [], []
    for pair in pairs:
        one, other = (text_ids(tokenizer, text) for text in (pair.one, pair.other))
        similarity.append(pattern_similarity(model, mean_activation(model, [one]), other))
        overlaps.append(len({*one} & {*other}) / len({*one, *other}))
    blocks = len(similarity[0])
    judged = [pair.score for pair in pairs]
    sums = {
        "deep": [fmean(own[layer] for layer in deep_blocks(blocks)) for own in similarity],
        "shallow": [fmean(own[: max(1, blocks // 2)]) for own in similarity],
    }
    return {
        "set": name,
        "n": len(pairs),
        "blocks": [rank_correlation(own, judged) for own in zip(*similarity, strict=True)],
        "deep": rank_correlation(sums["deep"], judged),
        "shallow": rank_correlation(sums["shallow"], judged),
        "intervals": {key: _interval(own, judged, seed) for key, own in sums.items()},
        "overlap": rank_correlation(overlaps, judged),
        "deep_beyond_overlap": partial_rank_correlation(sums["deep"], judged, overlaps),
    }


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation; 0 where one of the two never changes."""
    return float(_rank_correlations(np.asarray(one, dtype=float), np.asarray(other, dtype=float)))


def _rank_correlations(one: Floats, other: Floats, axis: int = -1) -> Floats:
    """Return Spearman's rank correlation along an axis, many times faster than SciPy's, which adds a p-value."""
    a, b = (rankdata(values, axis=axis) for values in (one, other))
    a, b = (ranks - ranks.mean(axis, keepdims=True) for ranks in (a, b))
    lengths = np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
    found: Floats = np.divide((a * b).sum(axis), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return found


def partial_rank_correlation(one: Sequence[float], other: Sequence[float], given: Sequence[float]) -> float:
    """Return the rank correlation of two quantities that is left where a third is given; 0 where it explains one."""
    between, first, second = (rank_correlation(*pair) for pair in ((one, other), (one, given), (other, given)))
    room = (1 - first**2) * (1 - second**2)
    return (between - first * second) / float(np.sqrt(room)) if room > 1e-12 else 0.0


def _interval(one: Sequence[float], other: Sequence[float], seed: int) -> list[float]:
    drawn = bootstrap(
        (one, other),
        _rank_correlations,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return [float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)]
