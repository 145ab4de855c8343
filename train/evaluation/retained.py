"""What a changed model keeps of a whole one: each figure as a share of the whole's, and of what lies above chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypedDict

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.dataset import CONTRAST_ACCURACY
from data.sets import leading_metric
from train.evaluation.benchmarks import Benchmark, load_benchmarks
from train.evaluation.evaluate import Evaluation, evaluate, mean_metrics
from train.evaluation.records import QuestionRecord
from train.recipe.settings import EvaluationSettings

_LOWER_IS_BETTER = ("perplexity", "word_perplexity")


class Kept(TypedDict):
    """One figure of a whole and of a changed model.

    Args:
        set, metric: what was measured.
        n: questions, windows or passages.
        whole, changed: the figure of both.
        chance: what guessing scores; None where nothing is known of it, as for a perplexity.
        kept: changed / whole, or whole / changed of a perplexity.
        kept_above_chance: (changed - chance) / (whole - chance); None where the whole model is at chance.
    """

    set: str
    metric: str
    n: int
    whole: float
    changed: float
    chance: float | None
    kept: float
    kept_above_chance: float | None


@dataclass(frozen=True)
class Yardstick:
    """Measures what changed models keep of one whole model, on the same questions and texts.

    Args:
        tokenizer: of all of them.
        benchmarks, settings: what is evaluated.
        whole: the evaluation of the whole model.
    """

    tokenizer: PreTrainedTokenizerBase
    benchmarks: list[Benchmark]
    settings: EvaluationSettings
    whole: Evaluation

    @staticmethod
    def of(
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EvaluationSettings,
        seed: int,
    ) -> "Yardstick":
        """Evaluate the whole model; `seed` draws the questions."""
        benchmarks = load_benchmarks(settings, seed)
        return Yardstick(tokenizer, benchmarks, settings, evaluate(model, tokenizer, benchmarks, settings, "whole"))

    def __call__(self, model: PreTrainedModel | PeftModel, description: str) -> list[Kept]:
        """Evaluate a changed model, and compare."""
        return kept_of(self.whole, evaluate(model, self.tokenizer, self.benchmarks, self.settings, description))


def kept_of(whole: Evaluation, changed: Evaluation) -> list[Kept]:
    """Compare two evaluations of the same questions: the leading metric of each set, right answers, retention."""
    rows = []
    for name, records in whole.records.items():
        before, after = mean_metrics(records), mean_metrics(changed.records[name])
        leading = leading_metric(name)
        n, right = len(records), "right"
        rows.append(_kept(name, leading, n, (before[leading], after[leading]), chance(leading, records)))
        if right in before:
            rows.append(_kept(name, right, n, (before[right], after[right]), 0.0))
    for name, figures in whole.retention.items():
        for metric in [metric for metric in figures if metric != "n"]:
            guessed = None if metric in _LOWER_IS_BETTER else 0.5 if name.startswith("sst2") else 0.0
            values = (figures[metric], changed.retention[name][metric])
            rows.append(_kept(name, metric, int(figures["n"]), values, guessed))
    return rows


def _kept(name: str, metric: str, n: int, values: tuple[float, float], guessed: float | None) -> Kept:
    whole, changed = values
    better, other = (whole, changed) if metric in _LOWER_IS_BETTER else (changed, whole)
    room = None if guessed is None else whole - guessed
    return {
        "set": name,
        "metric": metric,
        "n": n,
        "whole": whole,
        "changed": changed,
        "chance": guessed,
        "kept": better / other if other else 1.0,
        "kept_above_chance": (changed - guessed) / room if guessed is not None and room and room > 0 else None,
    }


def average_kept(rows: Sequence[Kept]) -> float:
    """Return the mean of the changed model's figures over the whole's, without perplexities and free answers.

    It is 1 where the whole model has nothing to keep.
    """
    counted = [row for row in rows if row["chance"] is not None and row["metric"] != "right"]
    whole = sum(row["whole"] for row in counted)
    return sum(row["changed"] for row in counted) / whole if whole else 1.0


def chance(metric: str, records: Sequence[QuestionRecord]) -> float | None:
    """Return what a model scores on average that ranks the answers at random; None for an unknown metric."""
    labels = [[choice["label"] for choice in record["choices"]] for record in records]
    match metric:
        case "acc" | "mc1":
            return fmean(1 / len(own) for own in labels)
        case "mc2":
            return fmean(sum(own) / len(own) for own in labels)
        case "map":
            return fmean(_random_precision(sum(own), len(own)) for own in labels)
    return 0.5 if metric == CONTRAST_ACCURACY else None


def _random_precision(relevant: int, total: int) -> float:
    """Return the expected average precision of a random ranking (Bestgen, 2015, https://aclanthology.org/K15-1011)."""
    harmonic = sum(1 / rank for rank in range(1, total + 1))
    return ((relevant - 1) / max(1, total - 1) * (total - harmonic) + harmonic) / total


def shown(value: float) -> str:
    """Return a figure as tables show it: three decimals below 10, one below 1000."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.3g}"


def kept_table(rows: Sequence[Kept], names: Mapping[str, str] | None = None) -> str:
    """Return the rows as a table in Markdown."""
    titles = {"whole": "whole", "changed": "changed"} | dict(names or {})
    lines = [
        f"| set | metric | n | {titles['whole']} | {titles['changed']} | chance | kept | kept above chance |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        guessed = "" if row["chance"] is None else f"{row['chance']:.3f}"
        above = "" if row["kept_above_chance"] is None else f"{row['kept_above_chance']:.0%}"
        figures = f"{row['n']} | {row['whole']:.3f} | {row['changed']:.3f} | {guessed} | {row['kept']:.0%} | {above}"
        lines.append(f"| {row['set']} | {row['metric']} | {figures} |")
    return "\n".join(lines)
