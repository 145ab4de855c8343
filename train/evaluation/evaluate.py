"""A model's whole evaluation: the benchmarks and what training cost; and two of them set side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example, hash_fraction
from train.batching.encoding import Encoder
from train.evaluation.benchmarks import Benchmark, Evaluator, Record, mean_metrics
from train.evaluation.free_answers import FreeAnswers
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.retention import measure_retention
from train.evaluation.statistics import compare
from train.recipe.arguments import EavssArguments
from train.runtime.distributed import say
from train.runtime.files import write_text


@dataclass(frozen=True)
class Evaluation:
    """The records of every question by set, and the figures of `train.evaluation.retention` by name."""

    records: dict[str, list[Record]]
    retention: dict[str, dict[str, float]]


def evaluate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: list[Benchmark],
    args: EavssArguments,
    seed: int,
    description: str,
) -> Evaluation:
    """Run everything the recipe asks for; `description` names the run in progress bars."""
    style = "harness" if args.prompts == "harness" else args.prompt_style
    encoder = Encoder(tokenizer, style, args.max_length, _shots(benchmarks, args, seed))
    scorer = AnswerScorer(model, encoder, args.eval_token_budget)
    free = FreeAnswers(model, encoder, args.eval_token_budget) if args.free_answers else None
    records = Evaluator(scorer, args.question_hidden, free).run(benchmarks, description)
    if args.retention and args.datasets_root == "samples":
        say("retention is left out: the samples hold no running text")
        return Evaluation(records, {})
    return Evaluation(records, measure_retention(scorer, args.retention, args.datasets_root, args.retention_limit))


def _shots(benchmarks: list[Benchmark], args: EavssArguments, seed: int) -> dict[str, Sequence[Example]]:
    """The same `num_fewshot` training questions of each set before and after training, drawn by the seed."""
    if not args.num_fewshot or args.prompts == "harness":
        return {}
    shots: dict[str, Sequence[Example]] = {}
    for benchmark in benchmarks:
        dataset = benchmark.questions[0].example.dataset
        pool = args.sides(dataset).train
        shots[dataset] = sorted(pool, key=lambda shot: hash_fraction(f"{seed} {shot.question}"))[: args.num_fewshot]
    return shots


def compare_runs(before: Evaluation, after: Evaluation, seed: int) -> dict[str, Any]:
    """The `benchmarks` and `retention` of `results.json`.

    Every set has, besides the means before and after, `change`: the difference with its interval, and McNemar's p for
    accuracies; `hidden`: the means under another question's prompt, and as `gained` the change of what a question's
    metric is above its hidden one; `length_rule`: what length alone would score.
    """
    return {
        "benchmarks": {
            name: {
                "n": len(records),
                "before": mean_metrics(records),
                "after": mean_metrics(after.records[name]),
                "change": _change(records, after.records[name], "metrics", seed),
                **(
                    {
                        "hidden": {
                            "before": mean_metrics(records, "hidden"),
                            "after": mean_metrics(after.records[name], "hidden"),
                            "change": _change(records, after.records[name], "hidden", seed),
                            "gained": compare(_above_hidden(records), _above_hidden(after.records[name]), seed),
                        }
                    }
                    if "hidden" in records[0]
                    else {}
                ),
                "length_rule": mean_metrics(records, "length_rule"),
            }
            for name, records in before.records.items()
        },
        "retention": {
            name: {"before": figures, "after": after.retention[name]} for name, figures in before.retention.items()
        },
    }


def _change(before: list[Record], after: list[Record], kind: str, seed: int) -> dict[str, dict[str, Any]]:
    return compare([record[kind] for record in before], [record[kind] for record in after], seed)


def _above_hidden(records: list[Record]) -> list[dict[str, float]]:
    return [{name: r["metrics"][name] - hidden for name, hidden in r["hidden"].items()} for r in records]


def write_items(folder: Path, runs: dict[str, Evaluation]) -> None:
    """Write `<set>.jsonl`, a line a question: {"question", and for each run its name: record}."""
    first = next(iter(runs.values()))
    for name, records in first.records.items():
        lines = [
            {"question": record["question"]} | {label: run.records[name][number] for label, run in runs.items()}
            for number, record in enumerate(records)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(folder / item_file(name), text)


def item_file(name: str) -> str:
    """The name of the file in `items/` that holds a set's questions."""
    # A user's set may be a Hub id, or have any name.
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".") or "_"
    return f"{safe}.jsonl"
