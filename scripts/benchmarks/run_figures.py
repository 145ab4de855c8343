"""Sum up the rounds of `benchmark_run.py`, and show them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from train.publishing.run_folder import Results

SIDES = ("ours", "peer", "second_seed")
# The largest difference between the metrics of both sides that goes without a mark; of perplexities, relative.
TOLERANCE = 1e-2
# Rows of the table that hold several stages, or one of another name. The rest is the last row.
ROWS = {
    **{name: name for name in ("imports", "load", "data", "mining", "train")},
    **dict.fromkeys(("score", "select"), "score and select"),
    **dict.fromkeys(("pairs", "replay texts", "reference pass"), "pairs and references"),
}
OTHER = "report and other"
ORDER = (
    *("imports", "load", "data", "mining", "score and select", "evaluation before", "pairs and references", "train"),
    *("evaluation after", OTHER),
)


class Measured(TypedDict):
    """What one process took: wall-clock and CPU seconds, and the wall-clock seconds of its stages."""

    seconds: float
    cpu_seconds: float
    stages: dict[str, float]


class Agreement(TypedDict):
    """One metric of one set before training, which should be equal on both sides."""

    set: str
    metric: str
    ours: float
    peer: float


class Figures(TypedDict):
    """What `--json` writes; seconds are medians over the rounds.

    Args:
        ours, peer, second_seed: the seconds of each stage.
        totals: `seconds` and `cpu_seconds` of each side's process.
        speedup, cpu_speedup: the peer's seconds over ours.
        second_seed_share, cpu_second_seed_share: the second seed's seconds over those of the first run.
        rounds, steps, pairs: how often was measured, and how much was trained.
        agreement: the metrics before training.
    """

    ours: dict[str, float]
    peer: dict[str, float]
    second_seed: dict[str, float]
    totals: dict[str, dict[str, float]]
    speedup: float
    cpu_speedup: float
    second_seed_share: float
    cpu_second_seed_share: float
    rounds: int
    steps: int
    pairs: int
    agreement: list[Agreement]


def sum_up(
    rounds: Sequence[Mapping[str, Measured]], results: "Results", peer: Mapping[str, dict[str, float]]
) -> Figures:
    """Return the medians of the rounds.

    Args:
        rounds: what each side took, by its name in `SIDES`.
        results: `results.json` of a first run.
        peer: the peer's metrics before training (`scripts.benchmarks.shared_rows.SharedRows.figures`).
    """
    stages = {side: _medians([each[side]["stages"] for each in rounds]) for side in SIDES}
    totals = {
        side: {
            "seconds": statistics.median(each[side]["seconds"] for each in rounds),
            "cpu_seconds": statistics.median(each[side]["cpu_seconds"] for each in rounds),
        }
        for side in SIDES
    }
    ours, theirs, second = (totals[side] for side in SIDES)
    return {
        "ours": stages["ours"],
        "peer": stages["peer"],
        "second_seed": stages["second_seed"],
        "totals": totals,
        "speedup": theirs["seconds"] / ours["seconds"],
        "cpu_speedup": theirs["cpu_seconds"] / ours["cpu_seconds"],
        "second_seed_share": second["seconds"] / ours["seconds"],
        "cpu_second_seed_share": second["cpu_seconds"] / ours["cpu_seconds"],
        "rounds": len(rounds),
        "steps": results["train"]["steps"],
        "pairs": results["train"]["pairs"],
        "agreement": agreements(results, peer),
    }


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: statistics.median(each.get(name, 0.0) for each in rounds) for name in names}


def agreements(results: "Results", peer: Mapping[str, dict[str, float]]) -> list[Agreement]:
    """Set the metrics of both sides before training beside each other, with the question hidden too."""
    ours: dict[str, dict[str, float]] = {}
    for name, found in results["benchmarks"].items():
        ours[name] = found["before"]
        if "hidden" in found:
            ours[f"{name} hidden"] = found["hidden"]["before"]
    ours |= {name: found["before"] for name, found in results["retention"].items()}
    return [
        {"set": name, "metric": metric, "ours": value, "peer": peer[name][metric]}
        for name, metrics in ours.items()
        for metric, value in metrics.items()
        if metric != "n"
    ]


def differs(row: Agreement) -> bool:
    """Return whether both sides differ by more than `TOLERANCE`."""
    scale = row["ours"] if row["metric"].endswith("perplexity") else 1.0
    return abs(row["ours"] - row["peer"]) > TOLERANCE * scale


def by_row(stages: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each row of the table."""
    found = dict.fromkeys(ORDER, 0.0)
    for stage, seconds in stages.items():
        moment, colon, _ = stage.partition(": ")
        found[f"evaluation {moment}" if colon else ROWS.get(stage, OTHER)] += seconds
    return found


def table(figures: Figures) -> str:
    """Return the figures as tables in Markdown."""
    columns = [by_row(stages) for stages in (figures["ours"], figures["peer"], figures["second_seed"])]
    rows = [(name, [column[name] for column in columns]) for name in ORDER]
    totals = [figures["totals"][side] for side in SIDES]
    rows.append(("the process", [each["seconds"] for each in totals]))
    rows.append(("the process, CPU seconds", [each["cpu_seconds"] for each in totals]))
    return "\n".join(
        [
            f"{figures['steps']} steps, {figures['pairs']} pairs; medians of {figures['rounds']} round(s)\n",
            *_markdown(
                ("seconds", "ours", "TRL and lm-eval", "ours, second seed"),
                ((name, *(f"{value:.1f}" for value in values)) for name, values in rows),
            ),
            _ratios(figures),
            *_markdown(
                ("before training", "metric", "ours", "lm-eval", "over 0.01 apart"),
                (
                    (row["set"], row["metric"], f"{row['ours']:.4f}", f"{row['peer']:.4f}", "yes" * differs(row))
                    for row in figures["agreement"]
                ),
            ),
        ]
    )


def _ratios(figures: Figures) -> str:
    peer = f"{figures['speedup']:.2f} times our seconds, {figures['cpu_speedup']:.2f} times our CPU seconds"
    share, cpu_share = figures["second_seed_share"], figures["cpu_second_seed_share"]
    second = f"{share:.0%} of the first run's seconds, {cpu_share:.0%} of its CPU seconds"
    return f"\nTRL and lm-eval take {peer}.\nThe second seed takes {second}.\n"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]
