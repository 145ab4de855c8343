"""Rows as Markdown tables."""

from pathlib import Path

from tests.train.comparison.toy_cells import CELLS, cell
from tests.train.comparison.toy_runs import write_runs
from train.comparison.runs import costs_of, summarise_runs
from train.comparison.selectors import leads, summarise
from train.comparison.tables import (
    asked_table,
    comparison_table,
    cost_table,
    declining_table,
    lead_table,
    summary_table,
    transfer_table,
)
from train.publishing.run_folder import Run


def test_a_comparison_of_selectors() -> None:
    rows = summarise(CELLS)
    header, rule, first, *others = comparison_table(rows).splitlines()
    assert (
        header
        == "| set | at equal | selector | seeds | gain | 95% | above random | 95% | above middle | 95% | FLOPs of all "
        "| TFLOPs | s | scoring TFLOPs | tau |"
    )
    assert rule == "|---" * 15 + "|"
    low, high = (f"{100 * bound:+.1f}" for bound in rows[0]["interval"])
    assert first.startswith(f"| nq | steps | eavss:contrast | 2 | +75.0 | {low} to {high} | +43.8 | ")
    assert first.endswith(" |  |  | 50% | 0.00 | 2 |  |  |")
    assert [line.split(" | ")[2] for line in others] == ["random", "all"]
    assert others[0].endswith(" |  |  |  |  | 70% | 0.00 | 2 |  |  |")


def test_leads_over_the_middle_and_what_scoring_took() -> None:
    cells = [cell("middle", 0, [0.5, 0.5]), cell("probe", 0, [1.0, 1.0])]
    assert lead_table(leads(cells)).splitlines()[2] == "| steps | probe | nq | +50.0 | +50.0 to +50.0 |"
    assert lead_table([]) == ""
    scored = [{**each, "scoring_flops": 2.5e12, "split_half_tau": 0.875} for each in cells]
    last = comparison_table(summarise(scored)).splitlines()[-1]  # type: ignore[arg-type]
    assert last.endswith(" | +50.0 | +50.0 to +50.0 |  | 0.00 | 2 | 2.50 | 0.88 |")


def test_what_was_said_when_asked() -> None:
    row = {"trained_on": "nq", "set": "sciq", "seeds": 1, "n": 9, "before": 0.25, "after": 0.5, "gained": None}
    row |= {"change": 0.25}
    rows = [row | {"metric": "right", "interval": [0.1, 0.4]}, row | {"metric": "auroc", "interval": [-0.1, 0.4]}]
    assert asked_table(rows).splitlines()[2:] == [  # type: ignore[arg-type]
        "| sciq | nq | before | 0.250 |  |  |  |  | 0.250 |  |",
        "| sciq | nq | after | 0.500 |  |  |  |  | 0.500 ~ |  |",
    ]
    assert asked_table([row | {"metric": "acc", "interval": [0.1, 0.4]}]) == ""  # type: ignore[list-item]


def test_what_is_said_after_training_to_decline() -> None:
    shares = {"right": 0.25, "wrong": 0.75, "declined": 0.0, "auroc": 0.5}
    declined = [
        {"right": 0.25, "wrong": 0.25, "declined": 0.5, "auroc": 1.0},
        {"right": 0.0, "wrong": 0.0, "declined": 1.0},
    ]
    cells = [
        {**cell("middle", seed, [0.5]), "asked_before": shares, "asked": after} for seed, after in enumerate(declined)
    ]
    assert declining_table(cells).splitlines()[2:] == [  # type: ignore[arg-type]
        "| nq | steps | (base) | 0.250 | 0.750 | 0.000 | 0.500 |  |",
        "| nq | steps | middle | 0.125 | 0.125 | 0.750 | 1.000 |  |",
    ]
    assert declining_table(CELLS) == ""


def test_a_summary_of_runs_says_points_noise_and_what_was_kept(tmp_path: Path) -> None:
    runs = [Run.read(folder) for folder in write_runs(tmp_path)]
    rows = summarise_runs(runs)
    summary = summary_table(rows).splitlines()
    assert summary[0].endswith("| 95% | relative | on the question |")
    low, high = (f"{100 * bound:+.1f}" for bound in rows[0]["interval"])
    assert summary[2] == f"| sciq | sciq | acc | 2 | 4 | 0.500 | 0.875 | +37.5 | {low} to {high} | +75% | +25.0 |"
    assert transfer_table(rows).splitlines() == [
        "| trained on | sciq | nq |",
        "|---|---|---|",
        "| sciq | +37.5 ~ (+25.0) | -25.0 ~ (-25.0) |",
        "| nq |  | +25.0 ~ (+25.0) |",
    ]
    assert cost_table(costs_of(runs)).splitlines() == [
        "| trained on | steps | s | TFLOPs | of all blocks' | wikitext perplexity | lambada accuracy |",
        "|---|---|---|---|---|---|---|",
        "| sciq | 10 | 5 | 3.0 | 50% | +5.0% | -25.0 points |",
        "| nq | 10 | 5 | 3.0 | 50% | +0.0% | -25.0 points |",
    ]
