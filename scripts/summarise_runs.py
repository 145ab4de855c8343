"""Sum up finished runs: the same recipe over its seeds, on every evaluated set, and what training cost.

    python scripts/summarise_runs.py outputs/truthfulqa-0 outputs/truthfulqa-1 outputs/sciq-0 ... [--all_metrics]
        [--json FILE]

Prints tables in Markdown: what the models said when they were asked, if they were; each set's leading metric before and
after training, averaged over the seeds, with an interval over seeds and questions; which training set helps which
evaluated set, in points, with the question-specific gain in brackets (~: the interval holds 0); and what training took
and how other abilities of the model changed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.sets import leading_metric
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--all_metrics", action="store_true", help="not only the leading metric of each set")
    parser.add_argument("--json", action=OutputFile)
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from train.comparison.runs import costs_of, summarise_runs
from train.comparison.tables import asked_table, cost_table, summary_table, transfer_table
from train.publishing.run_folder import Run


def main(argv: Sequence[str] | None) -> None:
    """Read the runs, print the tables, and write the figures if `--json` names a file."""
    options = read_options(argv)
    runs = [Run.read(folder) for folder in options.runs]
    twice = [run.folder for number, run in enumerate(runs) if run.key in [other.key for other in runs[:number]]]
    if twice:
        raise RecipeError(f"{twice[0]} has the data set and seed of another run; name one of each")
    every, costs = summarise_runs(runs, leading_only=False), costs_of(runs)
    rows = [row for row in every if options.all_metrics or row["metric"] == leading_metric(row["set"])]
    tables = [asked_table(every), summary_table(rows), transfer_table(rows), cost_table(costs)]
    say("\n\n".join(table for table in tables if table))
    if options.json:
        write_json(options.json, {"metrics": rows, "costs": costs})


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
