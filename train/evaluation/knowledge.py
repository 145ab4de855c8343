"""What the base knows of the training questions: it answers each of them several times.

A question is known, unknown or in between by its share of right answers, as in R-Tuning (Zhang et al., 2024, arXiv
2311.09677) and Gekhman et al. (2024, arXiv 2405.05904).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from transformers import PreTrainedModel

from data.answers import is_same_answer
from data.examples import Example
from data.judge import judge
from eavss.reliability import auroc
from train.evaluation.free_answers import FreeAnswers, rule_of
from train.runtime.distributed import on_main_process, say
from train.runtime.files import write_json_lines

Label = Literal["known", "between", "unknown"]
# From this share of right answers on a question counts as known.
_KNOWN = 0.5


class Knowledge(TypedDict):
    """A line of `knowledge.jsonl`.

    Args:
        question, dataset: the training question and its set.
        answers: what the base answered, its greedy answer first.
        right_share: the share of right answers among them.
        agreement: the share of the sampled answers that are the same as the greedy one.
        confidence: the summed log-probability of the greedy answer; None where it is empty.
        greedy_right: whether the greedy answer is right.
        label: whether the base knows the question.
    """

    question: str
    dataset: str
    answers: list[str]
    right_share: float
    agreement: float
    confidence: float | None
    greedy_right: bool
    label: Label


class _Written(TypedDict):
    """What is kept on disk of one question."""

    confidence: float | None
    answers: list[str]


def probe_knowledge(
    model: PreTrainedModel, free: FreeAnswers, examples: Sequence[Example], samples: int, seed: int
) -> list[Knowledge]:
    """Let the base answer the training questions once greedily and `samples` times at temperature 1.

    Questions of sets without a rule to judge free answers are left out. Answers are kept on disk for other runs.

    Args:
        model: the base, without an adapter; the one in `free`.
        free: poses the questions.
        examples: training questions.
        samples: at least 1.
        seed: the seed of the sampled answers.
    """
    asked = [example for example in examples if rule_of(example) is not None]
    if not asked:
        return []
    prompts = [free.encoder.prompt(example) for example in asked]

    def write() -> list[_Written]:
        greedy = free(asked, "what the base knows")
        sampled = free.samples(asked, samples, seed, "what the base knows, sampled")
        return [
            {"confidence": first.confidence and first.confidence.summed, "answers": [first.text, *rest]}
            for first, rest in zip(greedy, sampled, strict=True)
        ]

    settings = [samples, seed, free.token_budget, prompts]
    written = free.kept("knowledge", model, settings, write, "what the base knows")
    return [_knowledge(example, row) for example, row in zip(asked, written, strict=True)]


def _knowledge(example: Example, written: _Written) -> Knowledge:
    answers = written["answers"]
    greedy, *sampled = answers
    right = [judge(answer, example.aliases, example.question) == "right" for answer in answers]
    share = sum(right) / len(right)
    return {
        "question": example.question,
        "dataset": example.dataset,
        "answers": answers,
        "right_share": share,
        "agreement": sum(is_same_answer(answer, [greedy]) for answer in sampled) / len(sampled),
        "confidence": written["confidence"],
        "greedy_right": right[0],
        "label": "known" if share >= _KNOWN else "between" if share else "unknown",
    }


def summary(found: Sequence[Knowledge]) -> str:
    """Return how much is known as text, and how well agreement and likelihood tell right greedy answers."""
    labels = [each["label"] for each in found]
    counts = ", ".join(f"{labels.count(label)} {label}" for label in ("known", "between", "unknown"))
    said = [each for each in found if each["confidence"] is not None]
    right = [each["greedy_right"] for each in said]
    by_agreement = auroc([each["agreement"] for each in said], right)
    by_likelihood = auroc([each["confidence"] or 0.0 for each in said], right)
    if by_agreement is None or by_likelihood is None:
        return f"of {len(found)} training questions the base has {counts}"
    return (
        f"of {len(found)} training questions the base has {counts}; AUROC of its greedy answers by agreement with its "
        f"samples {by_agreement:.3f}, by their likelihood {by_likelihood:.3f}"
    )


@on_main_process
def write_knowledge(folder: Path, found: Sequence[Knowledge]) -> None:
    """Write `knowledge.jsonl`, and say how much is known."""
    say(summary(found))
    write_json_lines(folder / "knowledge.jsonl", found)
