"""What finished runs came to: the same recipe over its seeds, on every set, and at what price.

    python scripts/summarise_runs.py outputs/truthfulqa-0 outputs/truthfulqa-1 outputs/sciq-0 ... [--all_metrics]
        [--json FILE]

Prints three tables in Markdown: each set's leading metric before and after, averaged over the seeds, with an interval
over seeds and questions; which training set helps which evaluated set, in points, with the part that was gained on the
question in brackets (~: the interval holds 0); and what training took and what the model kept.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from train.comparison.runs import Run, cost_table, costs_of, summarise_runs, summary_table, transfer_table
from train.runtime.command import Parser, check_is_file, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


def main(argv: Sequence[str] | None) -> None:
    """Read the runs, print the tables, write what was asked for."""
    parser = Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--all_metrics", action="store_true", help="not only the metric that leads each set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    check_is_file("--json", options.json)
    runs = [Run.read(folder) for folder in options.runs]
    twice = [run.folder for number, run in enumerate(runs) if run.key in [other.key for other in runs[:number]]]
    if twice:
        raise RecipeError(f"{twice[0]} has the data set and seed of another run; name one of each")
    rows, costs = summarise_runs(runs, not options.all_metrics), costs_of(runs)
    say("\n\n".join([summary_table(rows), transfer_table(rows), cost_table(costs)]))
    if options.json:
        write_json(options.json, {"metrics": rows, "costs": costs})


def run(argv: Sequence[str] | None = None) -> int:
    """The command's exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
