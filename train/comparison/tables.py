"""Write the rows of a comparison or a summary as Markdown tables."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from data.sets import leading_metric
from train.comparison.cell_file import FinishedCell
from train.comparison.runs import CostRow, MetricSummary
from train.comparison.selectors import Lead, SelectorRow


def comparison_table(rows: Sequence[SelectorRow]) -> str:
    """Return the rows of `train.comparison.selectors.summarise`, with gains in points."""
    header = (
        "set | at equal | selector | seeds | gain | 95% | above random | 95% | above middle | 95% | FLOPs of all | "
        "TFLOPs | s | scoring TFLOPs | tau"
    )
    return _markdown(header.split(" | "), (_selector_cells(row) for row in rows))


def lead_table(rows: Sequence[Lead]) -> str:
    """Return the rows of `train.comparison.selectors.leads`, in points; empty without rows."""
    header = ["at equal", "selector", "sets", "above middle, all sets", "95%"]
    cells = (
        [row["budget"], row["selector"], ", ".join(row["datasets"]), _points(row["lead"]), _range(row["interval"])]
        for row in rows
    )
    return _markdown(header, cells) if rows else ""


_SHARES = ("right", "wrong", "declined", "auroc", "wrong_at_60")


def declining_table(cells: Sequence[FinishedCell]) -> str:
    """Return what the models said when they were asked, the base first, in means over seeds; empty if none was asked.

    A figure that is undefined in a cell, such as the AUROC where no answer was right, is that of the other cells.
    """
    asked = [cell for cell in cells if "asked" in cell]
    body = []
    for dataset, budget in dict.fromkeys((cell["dataset"], cell["budget"]) for cell in asked):
        here = [cell for cell in asked if (cell["dataset"], cell["budget"]) == (dataset, budget)]
        body.append([dataset, budget, "(base)", *_shares([cell["asked_before"] for cell in here])])
        for selector in dict.fromkeys(cell["selector"] for cell in here):
            own = [cell["asked"] for cell in here if cell["selector"] == selector]
            body.append([dataset, budget, selector, *_shares(own)])
    return _markdown(["asked", "at equal", "selector", *_SHARES], body) if body else ""


def _shares(asked: Sequence[Mapping[str, float]]) -> list[str]:
    values = [[each[name] for each in asked if name in each] for name in _SHARES]
    return [f"{fmean(known):.3f}" if known else "" for known in values]


def _selector_cells(row: SelectorRow) -> list[str]:
    return [
        row["dataset"],
        row["budget"],
        row["selector"],
        str(row["seeds"]),
        _points(row["gain"]),
        _range(row["interval"]),
        *_lead_cells(row["above_random"], row["above_random_interval"]),
        *_lead_cells(row["above_middle"], row["above_middle_interval"]),
        "" if row["share_of_all"] is None else f"{row['share_of_all']:.0%}",
        f"{row['flops'] / 1e12:.2f}",
        f"{row['seconds']:.0f}",
        "" if row["scoring_flops"] is None else f"{row['scoring_flops'] / 1e12:.2f}",
        "" if row["split_half_tau"] is None else f"{row['split_half_tau']:.2f}",
    ]


def _lead_cells(lead: float | None, interval: list[float] | None) -> list[str]:
    return ["", ""] if lead is None or interval is None else [_points(lead), _range(interval)]


def summary_table(rows: Sequence[MetricSummary]) -> str:
    """Return the rows of `train.comparison.runs.summarise_runs`, with changes in points."""
    header = (
        "trained on | evaluated on | metric | seeds | n | before | after | change | 95% | relative | on the question"
    )
    return _markdown(header.split(" | "), (_summary_cells(row) for row in rows))


def _summary_cells(row: MetricSummary) -> list[str]:
    return [
        row["trained_on"],
        row["set"],
        row["metric"],
        str(row["seeds"]),
        str(row["n"]),
        f"{row['before']:.3f}",
        f"{row['after']:.3f}",
        _points(row["change"]),
        _range(row["interval"]),
        f"{row['after'] / row['before'] - 1:+.0%}" if row["before"] else "",
        "" if row["gained"] is None else _points(row["gained"]),
    ]


_ASKED = ("right", "wrong", "declined", "empty", "wrong_at_equal_right", "auroc", "penalised_50")


def asked_table(rows: Sequence[MetricSummary]) -> str:
    """Return what the models said when they were asked, the base first; ~ marks a change whose interval holds 0.

    It is empty where no set was asked freely.
    """
    cells = {(row["trained_on"], row["set"], row["metric"]): row for row in rows if row["metric"] in _ASKED}
    pairs = list(dict.fromkeys((trained_on, name) for trained_on, name, _ in cells))
    body = [
        [name, trained_on, when, *(_asked_cell(cells.get((trained_on, name, metric)), when) for metric in _ASKED)]
        for trained_on, name in sorted(pairs, key=lambda pair: pair[1])
        for when in ("before", "after")
    ]
    return _markdown(["asked", "trained on", "", *_ASKED], body) if body else ""


def _asked_cell(row: MetricSummary | None, when: str) -> str:
    if row is None:
        return ""
    if when == "before":
        return f"{row['before']:.3f}"
    noise = " ~" if row["interval"][0] <= 0 <= row["interval"][1] else ""
    return f"{row['after']:.3f}{noise}"


def transfer_table(rows: Sequence[MetricSummary]) -> str:
    """Return the change in each set's leading metric by training set, in points.

    The question-specific gain follows in brackets. ~ marks a change whose interval holds 0.
    """
    names = list(dict.fromkeys(row["set"] for row in rows))
    leading = {(row["trained_on"], row["set"]): row for row in rows if row["metric"] == leading_metric(row["set"])}
    datasets = dict.fromkeys(row["trained_on"] for row in rows)
    body = ([dataset, *(_transfer_cell(leading.get((dataset, name))) for name in names)] for dataset in datasets)
    return _markdown(["trained on", *names], body)


def _transfer_cell(row: MetricSummary | None) -> str:
    if row is None:
        return ""
    noise = " ~" if row["interval"][0] <= 0 <= row["interval"][1] else ""
    question_gain = "" if row["gained"] is None else f" ({_points(row['gained'])})"
    return f"{_points(row['change'])}{noise}{question_gain}"


def cost_table(rows: Sequence[CostRow]) -> str:
    """Return the rows of `train.comparison.runs.costs_of`."""
    names = list(dict.fromkeys(name for row in rows for name in row["retention"]))
    body = (
        [
            row["trained_on"],
            f"{row['steps']:.0f}",
            f"{row['seconds']:.0f}",
            f"{row['flops'] / 1e12:.1f}",
            f"{row['flops'] / row['all_blocks_flops']:.0%}",
            *(_retention_cell(name, row["retention"].get(name)) for name in names),
        ]
        for row in rows
    )
    return _markdown(["trained on", "steps", "s", "TFLOPs", "of all blocks'", *names], body)


def _retention_cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.1%}" if name.endswith("perplexity") else f"{_points(value)} points"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = "|---" * len(header) + "|"
    return "\n".join([_line(header), rule, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _range(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{_points(low)} to {_points(high)}"
