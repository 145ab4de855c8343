"""A study of a model of four blocks, with figures that can be checked by hand."""

from train.comparison.activation import Activity, Judged, PrunedFigures, PruneTrial, Study


def activity(domain: str, shares: list[float]) -> Activity:
    """Shares that are the same by both thresholds, and two matrices: one as the block, and one that block 1 lacks."""
    other = [0.5, None, 0.5, 0.1]
    return {
        "domain": domain,
        "n": 3,
        "mean": [0.1] * 4,
        "thresholds": {"paper": 5e-6, "scale_free": 0.1},
        "active": {"paper": [0.9, 0.9, 0.9, 0.9], "scale_free": shares},
        "matrices": {kind: {"mlp.weight": [*shares], "attn.weight": other} for kind in ("paper", "scale_free")},
    }


def pruned(trial: PruneTrial, *losses: list[float]) -> PrunedFigures:
    """Figures of a trial on the domains `a`, `b`."""
    judged: list[Judged] = [
        {"domain": name, "losses": own, "greedy": 0.5} for name, own in zip("ab", losses, strict=True)
    ]
    return {
        "score": trial.score,
        "shape": trial.shape,
        "sparsity": trial.sparsity,
        "spread": trial.spread,
        "calibrated": trial.calibrated,
        "ratios": [trial.sparsity] * 4,
        "judged": judged,
    }


STUDY: Study = {
    "settings": {"seed": "42"},
    "blocks": 4,
    "activity": [activity("a", [0.8, 0.6, 0.4, 0.2]), activity("b", [0.6, 0.4, 0.2, 0.0])],
    "similarity": [
        {"one": "a", "other": "a", "n": 2, "blocks": [0.9, 0.9, 0.9, 0.9]},
        {"one": "a", "other": "b", "n": 2, "blocks": [0.8, 0.7, 0.5, 0.4]},
        {"one": "b", "other": "a", "n": 2, "blocks": [0.6, 0.5, 0.3, 0.2]},
        {"one": "b", "other": "b", "n": 2, "blocks": [0.7, 0.7, 0.7, 0.9]},
    ],
    "sentences": [
        {
            "set": "stsb",
            "n": 9,
            "blocks": [0.1, 0.2, 0.3, 0.4],
            "deep": 0.3,
            "shallow": 0.15,
            "intervals": {"deep": [0.2, 0.4], "shallow": [0.1, 0.2]},
            "overlap": 0.5,
            "deep_beyond_overlap": 0.05,
        }
    ],
    "pruned": [
        pruned(PruneTrial("activation", "uniform", 0.5, 0.0, "a"), [1.0, 1.0], [3.0, 3.0]),
        pruned(PruneTrial(), [0.0, 0.0], [1.0, 1.0]),
        pruned(PruneTrial(sparsity=0.5), [2.0, 2.0], [2.0, 2.0]),
        pruned(PruneTrial("magnitude", "active", 0.5, 0.1), [1.5, 1.5], [1.5, 1.5]),
        pruned(PruneTrial("activation", "uniform", 0.5, 0.0, "b"), [2.0, 2.0], [2.5, 2.5]),
    ],
}
