"""What is known of a data set, in one record that stands beside the reader of its rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from data.examples import Example

# Which metrics the likelihoods of all of a question's answers give (docs/evaluation.md): MC1 and MC2; acc and acc_norm;
# or MAP, MRR and precision at 1.
ChoiceMetrics = Literal["mc", "accuracy", "ranking"]

CONTRAST_ACCURACY = "contrast_accuracy"


@dataclass(frozen=True)
class FreeAnswerRule:
    """How lm-evaluation-harness ends and compares the answers that a model writes to a set's questions.

    Args:
        normalise: gives the form in which an answer and its aliases are compared.
        stops: an answer ends before the first of these strings.
    """

    normalise: Callable[[str], str]
    stops: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set on the Hub: where its rows are, how they become examples, and how it is evaluated.

    Args:
        name: what a recipe calls it.
        hub_id, config: where it is on the Hub.
        train_split, validation_split: its splits; where both are one, its questions are divided by a hash.
        test_split: the split that papers and lm-evaluation-harness report; None where the set has no labelled one.
        examples: turns rows into examples.
        harness_prompt: the zero-shot prompt of lm-evaluation-harness.
        leading_metric: the metric that stands for the set where one figure is shown.
        choice_metrics: the metrics that compare all of a question's answers; None where the one contrast that every
            set has is all.
        evaluation_share: the share of questions for evaluation, where both splits are one.
        free_answers: how free answers are judged; None where the model is not asked for any.
        open_book_prompt: a prompt that shows the supporting passage first, where the set has passages.
        research_only: whether its licence allows research only.
    """

    name: str
    hub_id: str
    config: str
    train_split: str
    validation_split: str
    examples: Callable[[Iterable[Mapping[str, Any]]], list[Example]]
    harness_prompt: Callable[[Example], str]
    test_split: str | None = None
    leading_metric: str = CONTRAST_ACCURACY
    choice_metrics: ChoiceMetrics | None = None
    evaluation_share: float = 0.5
    free_answers: FreeAnswerRule | None = None
    open_book_prompt: Callable[[Example], str] | None = None
    research_only: bool = False
