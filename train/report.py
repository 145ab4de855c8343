"""What a run says at its end: the table in the terminal, and report.html."""

import base64
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from train.files import write_text


def comparison_rows(benchmarks: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each set and metric of `results.json`'s benchmarks."""
    return [
        {"set": name, "metric": metric, "n": entry["n"], "before": before, "after": entry["after"][metric]}
        for name, entry in benchmarks.items()
        for metric, before in entry["before"].items()
    ]


def comparison_table(benchmarks: dict[str, dict[str, Any]]) -> str:
    """The before/after table as text."""
    lines = [f"{'set':<12} {'metric':<18} {'n':>6} {'before':>8} {'after':>8} {'change':>8}"]
    lines += [
        f"{row['set']:<12} {row['metric']:<18} {row['n']:>6} {row['before']:>8.3f} {row['after']:>8.3f} "
        f"{row['after'] - row['before']:>+8.3f}"
        for row in comparison_rows(benchmarks)
    ]
    return "\n".join(lines)


def write_report(folder: Path, results: dict[str, Any], layers: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Write `report.html`, one self-contained file, from the run's own files; all content is escaped."""
    environment = Environment(loader=PackageLoader("train"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        results=results,
        layers=layers,
        rows=comparison_rows(results["benchmarks"]),
        picture=base64.b64encode((folder / "layers.png").read_bytes()).decode(),
        recipe=yaml.safe_dump(recipe, sort_keys=False),
    )
    write_text(folder / "report.html", page)
