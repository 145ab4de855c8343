"""What a comparison of selectors measures on each evaluation question."""

from collections.abc import Mapping
from typing import NamedTuple

from peft import PeftModel
from transformers import PreTrainedModel

from train.batching.encoding import Encoder
from train.evaluation.answered import judge_answers, shares
from train.evaluation.benchmarks import Benchmark, leading_values
from train.evaluation.free_answers import FreeAnswers, asking_encoder
from train.evaluation.likelihood import AnswerScorer
from train.model.kept_figures import KeptFigures
from train.recipe.arguments import EavssArguments

# The penalised score at t = .5; other verdicts are worth nothing.
_WORTH = {"right": 1.0, "wrong": -1.0}


class Measured(NamedTuple):
    """What a model is worth.

    Args:
        values: of each question.
        asked: the shares of right, wrong, declined and empty answers, and what only a set has; {} if it was not asked.
    """

    values: list[float]
    asked: Mapping[str, float] = {}


def measure(
    model: PreTrainedModel | PeftModel, encoder: Encoder, benchmark: Benchmark, args: EavssArguments, description: str
) -> Measured:
    """Measure each question's value of the set's leading metric, and compute nothing else.

    Where the recipe trains on declining, the model answers freely instead, and a question's value is its penalised
    score at t = .5: 1 for a right answer, -1 for a wrong one, 0 for none.
    """
    kept = KeptFigures(args.fresh)
    if args.declines:
        examples = [question.example for question in benchmark.questions]
        free = FreeAnswers(model, asking_encoder(encoder), args.eval_token_budget, kept)
        judged = judge_answers(examples, free(examples, description))
        found = Measured([_WORTH.get(each.verdict, 0.0) for each in judged], shares(judged))
    else:
        scorer = AnswerScorer(model, encoder, args.eval_token_budget, kept=kept)
        found = Measured(leading_values(scorer, benchmark, description))
    kept.say_used(description)
    return found
