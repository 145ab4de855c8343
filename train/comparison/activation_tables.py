"""Tables of a study of active parameters, and what it says of each finding of arXiv 2405.17799."""

import math
from collections.abc import Sequence
from statistics import fmean

from eavss.choices import Threshold
from train.comparison.activation import (
    Activity,
    PatternFigures,
    PrunedFigures,
    PruneTrial,
    Study,
    deep_blocks,
    trial_of,
)
from train.comparison.activation_measures import rank_correlation
from train.evaluation.retained import shown
from train.evaluation.statistics import paired_interval


def shares_of(activity: Sequence[Activity], kind: Threshold) -> list[float]:
    """Return each block's share of active weights, averaged over the domains, (L,)."""
    return [fmean(own) for own in zip(*(each["active"][kind] for each in activity), strict=True)]


def pair_means(similarity: Sequence[PatternFigures], *, within: bool) -> list[float] | None:
    """Return each block's mean similarity of texts of one domain, or of two, (L,); None where none are."""
    chosen = [each["blocks"] for each in similarity if (each["one"] == each["other"]) == within]
    return [fmean(own) for own in zip(*chosen, strict=True)] if chosen else None


def halves(values: Sequence[float]) -> tuple[float, float]:
    """Return the means over the first half of the blocks, and over the second."""
    middle = max(1, len(values) // 2)
    return fmean(values[:middle]), fmean(values[middle:] or values)


def block_table(study: Study) -> str:
    """Return a row for each block: its active weights, and how alike the patterns are there."""
    columns: list[tuple[str, Sequence[float]]] = []
    if study["activity"]:
        columns += [
            ("active, paper's threshold", shares_of(study["activity"], "paper")),
            ("active, above the mean", shares_of(study["activity"], "scale_free")),
        ]
    for title, within in (("alike, one domain", True), ("alike, two domains", False)):
        if (values := pair_means(study["similarity"], within=within)) is not None:
            columns.append((title, values))
    columns += [(f"{each['set']} Spearman", each["blocks"]) for each in study["sentences"]]
    rows = [[str(layer), *(f"{values[layer]:.3f}" for _, values in columns)] for layer in range(study["blocks"])]
    return _markdown(["block", *(title for title, _ in columns)], rows) if columns else ""


def matrix_table(study: Study, kind: Threshold = "scale_free") -> str:
    """Return the share of active weights of each matrix in the first and in the second half of the blocks."""
    if not study["activity"]:
        return ""
    rows = []
    for name in study["activity"][0]["matrices"][kind]:
        own = [[v for v in each["matrices"][kind][name] if v is not None] for each in study["activity"]]
        found = [halves(values) for values in own]
        rows.append([name.removesuffix(".weight"), *(f"{fmean(part):.3f}" for part in zip(*found, strict=True))])
    return _markdown(["matrix", "first half", "second half"], rows)


def pruned_table(pruned: Sequence[PrunedFigures]) -> str:
    """Return a row for each trial, with the perplexity of the answers in each domain: e to the mean loss of a text."""
    if not pruned:
        return ""
    names = [each["domain"] for each in pruned[0]["judged"]]
    pruned = sorted(pruned, key=lambda own: (own["sparsity"], own["calibrated"] is not None))
    rows = [[str(trial_of(own)), *(shown(_perplexity(each["losses"])) for each in own["judged"])] for own in pruned]
    return _markdown(["pruned", *names], rows)


def _perplexity(losses: Sequence[float]) -> float:
    return math.exp(fmean(losses))


def findings(study: Study, seed: int) -> list[str]:
    """Say what the study shows of each of the paper's five findings, a line each; those not measured are left out."""
    said = []
    if study["activity"]:
        said += [_density(study["activity"], kind) for kind in ("paper", "scale_free")]  # type: ignore[arg-type]
    across, within = (pair_means(study["similarity"], within=own) for own in (False, True))
    if across is not None:
        said.append(f"texts of two domains: similarity {_by_depth(across)}")
    if within is not None:
        said.append(f"texts of one domain: similarity {_by_depth(within)}")
    deep = deep_blocks(study["blocks"])
    for each in study["sentences"]:
        (low, high), (bottom, top) = each["intervals"]["deep"], each["intervals"]["shallow"]
        said.append(
            f"{each['set']}: rank correlation with {each['n']} human judgements {each['deep']:.2f} ({low:.2f} to "
            f"{high:.2f}) in blocks {deep[0]}-{deep[-1]}, {each['shallow']:.2f} ({bottom:.2f} to {top:.2f}) in the "
            f"first half; of shared tokens {each['overlap']:.2f}; deep beyond these {each['deep_beyond_overlap']:.2f}"
        )
    return [*said, *_ratio_findings(study["pruned"], seed), *_calibration_findings(study["pruned"], seed)]


def _density(activity: Sequence[Activity], kind: Threshold) -> str:
    levels = ", ".join(f"{each['thresholds'][kind]:.2g}" for each in activity)
    limit = "the paper's threshold" if kind == "paper" else "the mean over all weights"
    return f"active above {limit} ({levels}): share {_by_depth(shares_of(activity, kind))}"


def _by_depth(values: Sequence[float]) -> str:
    first, second = halves(values)
    slope = rank_correlation(range(len(values)), values)
    return f"{first:.3f} in the first half, {second:.3f} in the second; rank correlation with depth {slope:+.2f}"


def _ratio_findings(pruned: Sequence[PrunedFigures], seed: int) -> list[str]:
    uniform = {own["sparsity"]: own for own in pruned if trial_of(own) == PruneTrial(sparsity=own["sparsity"])}
    said = []
    for own in pruned:
        if own["shape"] != "uniform":
            before, after = (_all_losses(each) for each in (uniform[own["sparsity"]], own))
            low, high = paired_interval(before, after, seed)
            change = fmean(after) - fmean(before)
            said.append(f"{trial_of(own)}: {change:+.3f} nats a token beside uniform ({low:+.3f} to {high:+.3f})")
    return said


def _all_losses(figures: PrunedFigures) -> list[float]:
    return [loss for each in figures["judged"] for loss in each["losses"]]


def _calibration_findings(pruned: Sequence[PrunedFigures], seed: int) -> list[str]:
    """Compare, on each text, the model calibrated on its own domain with the mean over those calibrated on others."""
    groups: dict[tuple[str, float], list[PrunedFigures]] = {}
    for own in pruned:
        if own["calibrated"] is not None:
            groups.setdefault((own["score"], own["sparsity"]), []).append(own)
    said = []
    for (score, sparsity), group in groups.items():
        if len(group) < 2:
            continue
        table = {own["calibrated"]: {each["domain"]: each["losses"] for each in own["judged"]} for own in group}
        gains, others, favoured = [], [], 0
        for name in table:
            own_losses = table[name][str(name)]
            rest = [fmean(loss) for loss in zip(*(table[b][str(name)] for b in table if b != name), strict=True)]
            favoured += fmean(own_losses) < fmean(rest)
            gains += own_losses
            others += rest
        low, high = paired_interval(others, gains, seed)
        change = fmean(gains) - fmean(others)
        said.append(
            f"{sparsity:.0%} by {score}: {change:+.3f} nats a token with the own domain's calibration beside others' "
            f"({low:+.3f} to {high:+.3f}); lower in {favoured} of {len(table)} domains"
        )
    return said


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
