"""Take tiny random models of many families through the job, and write docs/models.md.

    python scripts/family_table.py [--families "Llama" "Qwen 3" ...] [--json FILE]

It takes about an hour on one core, and needs no network. FILE has each row as soon as it is measured. With --families
it prints the rows and leaves the page as it is.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from train.recipe.arguments import REPOSITORY
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_text


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--families", nargs="+", metavar="FAMILY", help="default: all, and the page is written")
    parser.add_argument("--json", action=OutputFile)
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from scripts.families.configs import FAMILIES
from scripts.families.measure import FamilyRow, measure
from scripts.families.zero3 import ADAPTER, ANSWER, LOSS

TARGET = REPOSITORY / "docs" / "models.md"
COLUMNS = (
    "family",
    "status",
    "blocks",
    "weights adapted",
    "packed answers",
    "block-input cache",
    "shared prompts",
    "replay",
    "FLOPs counted / by hand",
    "ZeRO-3",
)
_INTRODUCTION = """\
# Models

<!-- Written by scripts/family_table.py. Do not edit by hand. -->

Any causal language model of transformers is tried when it is loaded, whatever its name: its blocks are found, LoRA is
put on all of them for one forward and backward pass, and each shortcut is compared with the plain path on a few random
tokens (`eavss.shortcuts`). A shortcut that gives other log-probabilities is switched off, with a note that says so. A
model that cannot be profiled or trained is refused before anything is scored, with one line and exit status 2.

This table shows what came of {count} families with transformers {transformers}, PEFT {peft} and DeepSpeed {deepspeed},
on a CPU. Each is a random model of four blocks and 64 hidden units in float32, with short windows. It was scored,
trained for two steps with adapters on blocks 2 and 3, saved, loaded afresh, and exported merged, with its
log-probabilities compared in a fresh process. No pretrained weights were loaded.

    python scripts/family_table.py

- *weights adapted*: the share of the weights of blocks 2 and 3 that get an adapter. A layer that blocks share or that
  PEFT cannot adapt in chosen blocks gets none. Fused experts get one with `lora_experts: true`, as mixtures were
  trained here; the first figure is the share without it.
- *packed answers*, *shared prompts*: how far an answer's log-probability is from that of the answer alone, in nats.
  *block-input cache*: the same for a pass that starts at block 2, as a root mean square over the vocabulary. "off" says
  why a run does without the shortcut; it is then slower, and not less exact. "windows or states": the model's cache
  holds more than plain keys and values.
- *replay*: whether texts to replay were written and learned from.
- *FLOPs counted / by hand*: for a token in all blocks. By hand it is two for each weight that a token meets, of a
  mixture's experts the active ones. Attention and recurrences come on top, Llama 4 computes every expert, and
  Zamba 2 does not use every layer in every block.
- *ZeRO-3*: "yes" where two ranks that divide the model get what one process gets, but for the export: both steps'
  losses within {loss:g}, the adapter within {adapter:.0%} of its update (the norm of LoRA's B, which starts at 0),
  and the answers' log-probabilities, on a base that is divided again, within {answer:g} nats. The largest differences
  were {furthest}.
"""
_REFUSED = """\
## Refused or failed

| family | why |
|---|---|
"""


def page(rows: Sequence[FamilyRow]) -> str:
    """Return the text of docs/models.md."""
    versions = {name: version(name) for name in ("transformers", "peft", "deepspeed")}
    refused = [f"| {row.family} | {row.reason.replace('|', '/')} |" for row in rows if row.status != "works"]
    tolerances = {"loss": LOSS, "adapter": ADAPTER, "answer": ANSWER, "furthest": _furthest(rows)}
    parts = [_INTRODUCTION.format(count=len(rows), **versions, **tolerances), table(rows)]
    return "\n".join([*parts, *([_REFUSED + "\n".join(refused) + "\n"] if refused else [])])


def table(rows: Sequence[FamilyRow]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _furthest(rows: Sequence[FamilyRow]) -> str:
    """Return the largest differences among the families that agree under ZeRO-3, in words."""
    agree = [row for row in rows if row.zero3 == "yes"]
    losses, adapters, answers = (
        max((getattr(row, f"zero3_{kind}_difference") for row in agree), default=0.0)
        for kind in ("loss", "adapter", "answer")
    )
    return f"{losses:.0e} in a loss, {adapters:.0e} of an update, and {answers:.0e} nats in an answer"


def cells(row: FamilyRow) -> list[str]:
    """Return the cells of a row; none is empty."""
    blocks = "none" if row.blocks is None else str(row.blocks)
    share = "-" if row.adapted_share is None else f"{row.adapted_share:.0%}"
    share += "" if row.experts_share is None else f", {row.experts_share:.0%} with experts"
    shortcuts = [
        _shortcut(row.packed, row.packed_difference),
        _shortcut(row.cache, row.cache_difference),
        _shortcut(row.shared_prompts, row.shared_prompt_difference),
    ]
    replay = {None: "-", True: "yes", False: "no"}[row.replay]
    ratio = f"{row.counted_flops / row.hand_flops:.2f}" if row.counted_flops and row.hand_flops else "-"
    zero3 = row.zero3.replace("|", "/") or ("not run" if row.status == "works" else "-")
    return [row.family, row.status, blocks, share, *shortcuts, replay, ratio, zero3]


def _shortcut(state: str, difference: float | None) -> str:
    if difference is None:
        return "-"
    if state != "on":
        return f"off: {state}"
    return f"{difference:.0e}" if difference else "0"


def main(families: Sequence[str], target: Path | None) -> list[FamilyRow]:
    """Measure the families, and print each when it is done.

    Args:
        target: a file for the rows; None for none.

    Raises:
        RecipeError: there is no such family.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise RecipeError(f"--families: {unknown} should be among {', '.join(FAMILIES)}")
    rows = []
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            # In a cache of an earlier run its texts to replay would be found.
            os.environ["EAVSS_CACHE"] = str(Path(folder) / "cache")
            rows.append(measure(family, Path(folder)))
        say(f"{' | '.join(cells(rows[-1]))} {rows[-1].reason}")
        if target:
            write_json(target, [row.to_json() for row in rows])
    return rows


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure, and write the page."""
    options = read_options(argv)
    rows = main(options.families or list(FAMILIES), options.json)
    if not options.families:
        write_text(TARGET, page(rows))
        say(f"written: {TARGET.relative_to(REPOSITORY)}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
