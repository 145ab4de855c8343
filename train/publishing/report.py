"""Report a run at its end: the table for the terminal, `items/`, `results.json` and `report.html`."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from data.judge import VERDICTS
from eavss.reliability import risk_coverage
from train.evaluation.compare import write_items
from train.evaluation.evaluate import Evaluation
from train.evaluation.statistics import Change
from train.publishing.plots import plot_asked, plot_changes, plot_risk, plot_training
from train.publishing.rows import DERIVED, AskedRow, asked_rows, footnotes, metric_rows
from train.publishing.run_folder import Item, QuestionRecord, Results, Run
from train.runtime.distributed import on_main_process
from train.runtime.files import write_json, write_text
from train.runtime.stages import clock


def comparison_table(results: Results) -> str:
    """Return the table of metrics before and after training as text, with what training cost below it."""
    lines = [
        *_asked_lines(results),
        f"{'set':<12} {'metric':<20} {'n':>5} {'before':>8} {'after':>8} {'change':>8}   {'95% interval':<17} "
        f"{'on the question':>17}",
    ]
    for row in metric_rows(results):
        if row.metric in DERIVED:
            continue
        low, high = row.change["interval"]
        gain = row.question_gain
        shown_gain = "" if gain is None else f"{gain['difference']:+.3f} {_mark(gain)}"
        lines.append(
            f"{row.set:<12} {row.metric:<20} {row.n:>5} {row.before:>8.3f} {row.after:>8.3f} "
            f"{row.change['difference']:>+8.3f} {_mark(row.change)} [{low:+.3f}, {high:+.3f}] {shown_gain:>17}"
        )
    for name, figures in results["retention"].items():
        for metric, before in figures["before"].items():
            if metric != "n":
                after = figures["after"][metric]
                n = int(figures["before"]["n"])
                lines.append(f"{name:<12} {metric:<20} {n:>5} {before:>8.3f} {after:>8.3f} {after - before:>+8.3f}")
    return "\n".join([*lines, *footnotes(results)])


def _asked_lines(results: Results) -> list[str]:
    """Return what users see first: of the questions asked, how many were answered right, wrong, or not."""
    rows = asked_rows(results)
    if not rows:
        return []
    head = f"{'asked':<12} {'':<8} {'n':>5} " + " ".join(f"{verdict:>9}" for verdict in VERDICTS)
    lines = [head]
    for row in rows:
        shares = " ".join(f"{row.shares[verdict]:>9.3f}" for verdict in VERDICTS)
        lines.append(f"{row.set:<12} {row.when:<8} {row.n:>5} {shares}")
        if row.when == "after":
            lines += _threshold_lines(results, row)
    return [*lines, ""]


def _threshold_lines(results: Results, row: AskedRow) -> list[str]:
    """Return what remains where the thresholds that were calibrated on the set itself decline answers."""
    of_sets = results.get("confidence", {}).get(row.set, {})
    return [
        f"{row.set:<12} {f'keep {keep}%':<8} {row.n:>5} {kept['answered'] - kept['wrong']:>9.3f} {kept['wrong']:>9.3f} "
        f"{1 - kept['answered']:>9.3f}"
        for keep, kept in of_sets.get(row.set, {}).items()
    ]


def _mark(change: Change) -> str:
    return "~" if change["noise"] else " "


def write_results(folder: Path, results: Results, before: Evaluation, after: Evaluation) -> Results:
    """Write `items/`, `results.json`, and the report that is made from them. Every rank must call this.

    Returns:
        The results with the stages of the run, as they are written.
    """
    with clock.stage("report"):
        _write(folder, {**results, "stages": clock.figures()}, before, after)
    timed: Results = {**results, "stages": clock.figures()}  # again, with the time of the report itself
    on_main_process(write_json)(folder / "results.json", timed)
    return timed


@on_main_process
def _write(folder: Path, results: Results, before: Evaluation, after: Evaluation) -> None:
    write_items(folder / "items", {"before": before, "after": after})
    write_json(folder / "results.json", results)
    write_report(Run.read(folder))


@dataclass(frozen=True)
class FlippedQuestions:
    """The records, after training, of the questions whose likelier answer is another one than before.

    Args:
        to_truthful: the questions whose truthful answer is now the likelier one.
        to_hallucinated: the questions whose wrong answer is now the likelier one.
    """

    to_truthful: list[QuestionRecord]
    to_hallucinated: list[QuestionRecord]


def flipped_questions(items: Sequence[Item]) -> FlippedQuestions:
    """Return the questions of a set whose likelier answer changed, those whose margin changed most first.

    The margin is the log-probability per token of the truthful answer less that of the wrong one.
    """
    flips = []
    for item in items:
        old, new = (truthful - wrong for truthful, wrong in (_per_token(item["before"]), _per_token(item["after"])))
        if (old > 0) != (new > 0):
            flips.append((abs(new - old), new > 0, item["after"]))
    flips.sort(key=lambda flip: -flip[0])
    return FlippedQuestions(
        to_truthful=[record for _, is_truthful, record in flips if is_truthful],
        to_hallucinated=[record for _, is_truthful, record in flips if not is_truthful],
    )


def risk_curves(items: Mapping[str, Sequence[Item]]) -> dict[str, dict[str, list[list[float]]]]:
    """Return the risk-coverage curve of the summed log-probability: {set: {before or after: points}}."""
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for name, questions in items.items():
        for when in ("before", "after"):
            records = [question[when] for question in questions]  # type: ignore[literal-required]
            given = [record for record in records if record["verdict"] in ("right", "wrong")]
            confidences = [(record["confidence"] or {})["summed"] for record in given]
            right = [record["verdict"] == "right" for record in given]
            curves.setdefault(name, {})[when] = risk_coverage(confidences, right, len(records))
    return curves


def _per_token(record: QuestionRecord) -> tuple[float, float]:
    truthful, wrong = record["per_token"]["metrics"][:2]
    return truthful, wrong


def write_report(run: Run) -> None:
    """Write `report.html`, one self-contained page, from the run's own files. All content is escaped."""
    rows = metric_rows(run.results)
    train = run.results["train"]
    pictures = {
        "profile": run.picture,
        "changes": plot_changes(rows),
        "training": plot_training(train["log"], train["loss_weights"]),
    }
    asked = asked_rows(run.results)
    if asked:
        items = {name: run.items(name) for name in dict.fromkeys(row.set for row in asked)}
        pictures |= {"asked": plot_asked(asked), "risk": plot_risk(risk_curves(items))}
    environment = Environment(loader=PackageLoader("train.publishing"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        results=run.results,
        layers=run.layers,
        rows=rows,
        asked=asked,
        footnotes=footnotes(run.results),
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        stages=(stages := run.results.get("stages", {})),
        longest=max((stage["seconds"] for stage in stages.values()), default=0.0),
        recipe=run.recipe,
        flipped={name: flipped_questions(run.items(name)) for name in run.results["benchmarks"]},
    )
    write_text(run.folder / "report.html", page)
