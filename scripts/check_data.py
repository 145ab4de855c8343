"""Check a data set of your own before you train on it: no GPU, and of the model the tokenizer alone.

    python scripts/check_data.py FILE --model_name_or_path ORG/MODEL [--datasets_root samples] [--json FIGURES]

FILE is what a recipe's `dataset` names: a file or a Hub id. The check says how many rows, prompts and pairs there are,
what is left out and why, how many tokens they have, what max_length cuts, and which evaluation questions of evaluate_on
stand in the prompts. It prints five pairs token by token where prompt, answer and end meet. If a row cannot be read, it
lists all such rows and ends with status 2. It takes the keys of a recipe, such as --config, --prompt_style,
--max_length and --evaluate_on.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from data.sets import ALL, SETS
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe, FILE as its data set among them."""
    own = Parser(__doc__)
    own.add_argument("file", metavar="FILE")
    own.add_argument("--json", action=OutputFile)
    words = list(sys.argv[1:] if argv is None else argv)
    # Anywhere else, the value of a recipe's key would be taken for the file, since this parser knows no such keys.
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        raise RecipeError("command line: FILE should come first, before the options")
    options, recipe = own.parse_known_args(words)
    require(options.file not in (*SETS, ALL), "FILE", options.file, "data of your own, a file or a Hub id")
    return options, [*recipe, "--dataset", options.file]


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

import numpy as np

from data.errors import DataError
from data.examples import Example
from data.leaks import QuestionFinder
from data.own_data import OwnData
from data.sources import DataSource
from train.batching.encoding import Encoder
from train.batching.inspection import EncodedAnswers, encode_all, shown_answers
from train.model.tokenizer import load_tokenizer

_FAULTS, _SHOWN, _NAMED = 20, 5, 3


@dataclass(frozen=True)
class Leak:
    """How many prompts hold an evaluation question of a benchmark.

    Args:
        questions: how many evaluation questions it has; None where they cannot be read.
        prompts: how many prompts hold one.
        found: the first questions that were found.
        unread: why they cannot be read.
    """

    questions: int | None
    prompts: int
    found: list[str]
    unread: str = ""


@dataclass(frozen=True)
class Report:
    """What `--json` writes.

    Args:
        rows: rows that were kept, and among them `repeated` ones, which say what another one says.
        prompts, pairs: what they become; `verbatim` prompts are joined with their answers as they stand.
        train, evaluation: prompts on each side.
        findings: how many rows or answers were left out, or are worth a look, by what was found.
        tokens: the median, the 95th percentile and the maximum of prompts, answers with their ends, and both.
        cut_prompts, cut_answers: pairs that lose the start of the prompt alone, and the end of an answer.
        equal: pairs whose answers have equal tokens.
        merged: pairs whose answers begin inside the prompt's last token.
        leaks: by benchmark.
    """

    rows: int
    repeated: int
    prompts: int
    pairs: int
    verbatim: int
    train: int
    evaluation: int
    findings: dict[str, int]
    tokens: dict[str, list[int]]
    cut_prompts: int
    cut_answers: int
    equal: int
    merged: int
    leaks: dict[str, Leak]


def main(args: EavssArguments) -> Report:
    """Check the data set, print what was found, and return it.

    Raises:
        DataError: a row cannot be read; the other rows that cannot be are printed.
    """
    tokenizer = load_tokenizer(args.base_model)
    encoder = Encoder(tokenizer, args.prompt_style, args.max_length, passages=args.passages)
    data = read(args.dataset, args.source)
    encoded = list(encode_all(data.examples, encoder))
    report = make_report(data, encoded, args)
    say("\n".join(described(report, args)))
    say(f"\nThe first {min(_SHOWN, len(encoded))} as the model sees them, prompt | answer | end:")
    for number, each in enumerate(encoded[:_SHOWN], start=1):
        say("\n".join([f"{number}.", *shown_answers(tokenizer, each)]))
    return report


def read(dataset: str, source: DataSource) -> OwnData:
    """Read the data set, and print every fault but the first one, which is raised."""
    try:
        return source.own(dataset)
    except DataError as error:
        others = 0
        try:
            for others, fault in enumerate(islice(source.own_faults(dataset), 1, None), start=1):
                if others < _FAULTS:
                    say(fault)
        except DataError as broken:
            say("" if str(broken) == str(error) else str(broken))
        if others >= _FAULTS:
            say(f"{others + 1} rows cannot be read, of which {_FAULTS} are named")
        raise


def make_report(data: OwnData, encoded: Sequence[EncodedAnswers], args: EavssArguments) -> Report:
    """Count what there is to know."""
    split = args.source.divided(data, args.dataset)
    pairs = [each for each in encoded if each.is_pair]
    return Report(
        rows=data.rows,
        repeated=data.repeated,
        prompts=len(data.examples),
        pairs=len(pairs),
        verbatim=sum(example.verbatim for example in data.examples),
        train=len(split.train),
        evaluation=len(split.evaluation),
        findings={what: number for number, what in data.findings},
        tokens={
            "prompt": spread([each.whole[0].answer_start for each in encoded]),
            "right answer": spread([len(each.whole[0]) - each.whole[0].answer_start for each in encoded]),
            "wrong answer": spread([len(each.whole[1]) - each.whole[1].answer_start for each in pairs]),
            "prompt and answer": spread([max(map(len, each.whole)) for each in encoded]),
        },
        cut_prompts=sum(each.cut == "prompt" for each in encoded),
        cut_answers=sum(each.cut == "answer" for each in encoded),
        equal=sum(each.is_equal for each in encoded),
        merged=sum(each.merged for each in encoded),
        leaks={name: find_leak(data.examples, name, args.source) for name in args.evaluate_on},
    )


def spread(counts: Sequence[int]) -> list[int]:
    """Return the median, the 95th percentile and the maximum, each one of the numbers; [] where there is none."""
    return [int(value) for value in np.percentile(counts, [50, 95, 100], method="higher")] if counts else []


def find_leak(examples: Sequence[Example], name: str, source: DataSource) -> Leak:
    """Look for a benchmark's evaluation questions in the prompts."""
    try:
        finder = QuestionFinder(each.question for each in source.evaluation(name))
    except DataError as error:
        return Leak(None, 0, [], str(error))
    found = [finder.within(example) for example in examples]
    questions = dict.fromkeys(question for each in found for question in sorted(each))
    return Leak(len(finder), sum(map(bool, found)), list(questions)[:_NAMED])


def described(report: Report, args: EavssArguments) -> list[str]:
    """Return the report in lines."""
    style = "the chat template" if args.prompt_style == "chat" else "'Question: ...\\nAnswer:'"
    lines = [
        f"{args.dataset}",
        f"{report.rows:>8} rows, of which {report.repeated} repeat another one"
        + (f"; dataset_rows keeps at most {args.dataset_rows}" if args.dataset_rows else ""),
        f"{report.prompts:>8} prompts, {report.train} to train on and {report.evaluation} to evaluate on",
        f"{report.pairs:>8} pairs" + ("" if report.pairs else "; wrong answers are found when a run starts"),
        f"{report.verbatim:>8} prompts are plain strings, joined as they stand; {report.prompts - report.verbatim} go "
        f"through {style}",
        *(f"{number:>8} {what}" for what, number in report.findings.items()),
        "\nTokens               median      95%      max",
    ]
    lines += [f"{what:<18}" + "".join(f"{n:>9}" for n in counts) for what, counts in report.tokens.items() if counts]
    lines += [
        f"\nOf all pairs, with max_length {args.max_length},",
        f"{report.cut_prompts:>8} lose the start of the prompt",
        f"{report.cut_answers:>8} lose the end of an answer too",
        f"{report.equal:>8} have equal tokens in both answers, and are left out",
        f"{report.merged:>8} have an answer that shares its first token with the prompt's end; is a space missing?",
        "\nEvaluation questions in the prompts",
    ]
    for name, leak in report.leaks.items():
        seen = f"not looked for: {leak.unread}"
        if leak.questions is not None:
            named = f", such as {', '.join(map(repr, leak.found))}" if leak.found else ""
            seen = f"{leak.prompts} prompts hold one of {leak.questions}{named}"
        lines.append(f"    {name}: {seen}")
    return lines


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, check the data set, and write the figures."""
    options, recipe = read_options(argv)
    args, _ = parse(recipe)
    report = main(args)
    if options.json:
        write_json(options.json, asdict(report))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
