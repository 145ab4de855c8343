"""What a run says at its end: the table in the terminal, and report.html."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from train.evaluation.benchmarks import Record
from train.publishing.plots import plot_changes, plot_training
from train.runtime.files import write_text

_FOOT = "~ noise could explain the change: its 95% interval (paired bootstrap by question) holds 0"


def comparison_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each set and metric of `results.json`: the figures before and after, and the change's interval.

    `question_gain` is the question-specific gain: the change less the change with the question hidden, with an interval
    of its own. It is None where a metric has no such control.
    """
    rows = []
    for name, entry in results["benchmarks"].items():
        gained = entry.get("hidden", {}).get("gained", {})
        for metric, change in entry["change"].items():
            rows.append(
                {
                    "set": name,
                    "metric": metric,
                    "n": entry["n"],
                    "before": entry["before"][metric],
                    "after": entry["after"][metric],
                    **change,
                    "question_gain": gained.get(metric),
                }
            )
    return rows


def comparison_table(results: dict[str, Any]) -> str:
    """The before/after table as text, with what training cost below it."""
    lines = [
        f"{'set':<12} {'metric':<20} {'n':>5} {'before':>8} {'after':>8} {'change':>8}   {'95% interval':<17} "
        f"{'on the question':>17}"
    ]
    for row in comparison_rows(results):
        low, high = row["interval"]
        gain = row["question_gain"]
        gained = "" if gain is None else f"{gain['difference']:+.3f} {_mark(gain)}"
        lines.append(
            f"{row['set']:<12} {row['metric']:<20} {row['n']:>5} {row['before']:>8.3f} {row['after']:>8.3f} "
            f"{row['difference']:>+8.3f} {_mark(row)} [{low:+.3f}, {high:+.3f}] {gained:>17}"
        )
    for name, figures in results["retention"].items():
        for metric, before in figures["before"].items():
            if metric != "n":
                after = figures["after"][metric]
                n = int(figures["before"]["n"])
                lines.append(f"{name:<12} {metric:<20} {n:>5} {before:>8.3f} {after:>8.3f} {after - before:>+8.3f}")
    return "\n".join([*lines, _FOOT])


def _mark(change: dict[str, Any]) -> str:
    return "~" if change["noise"] else " "


def flipped_questions(before: list[Record], after: list[Record]) -> dict[str, list[Record]]:
    """The questions of a set whose likelier answer changed sides: `mended` to the truthful one, `spoilt` from it; those
    first whose margin changed most.

    Args:
        before, after: records of the same questions in the same order.
    """
    found: dict[str, list[tuple[float, Record]]] = {"mended": [], "spoilt": []}
    for old, new in zip(before, after, strict=True):
        was, now = (record["per_token"]["metrics"][0] - record["per_token"]["metrics"][1] for record in (old, new))
        if (was > 0) != (now > 0):
            found["mended" if now > 0 else "spoilt"].append((abs(now - was), new))
    return {kind: [record for _, record in sorted(turned, key=lambda pair: -pair[0])] for kind, turned in found.items()}


def write_report(
    folder: Path,
    results: dict[str, Any],
    layers: dict[str, Any],
    recipe: str,
    flipped: dict[str, dict[str, list[Record]]],
) -> None:
    """Write `report.html`, one self-contained file, from the run's own files; all content is escaped.

    Args:
        flipped: of each set, from `flipped_questions`.
    """
    rows = comparison_rows(results)
    pictures = {
        "profile": (folder / "layers.png").read_bytes(),
        "changes": plot_changes(rows),
        "training": plot_training(results["train"]["log"]),
    }
    environment = Environment(loader=PackageLoader("train.publishing"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        results=results,
        layers=layers,
        rows=rows,
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        recipe=recipe,
        flipped=flipped,
    )
    write_text(folder / "report.html", page)
