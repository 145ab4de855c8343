"""Draw the training questions of a run, and give hallucinated answers to those that have none."""

import math
import random

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.hallucinations import with_model_answers, with_similar_answers
from train.base.mined_answers import AnswerWriter


def training_examples(
    pools: list[list[Example]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int | None,
    mined_answers: int,
    seed: int,
) -> list[Example]:
    """Draw the training questions in a seeded order, and give hallucinated answers to those that have none.

    Args:
        pools: examples to draw from; as many questions are drawn from each pool, as far as it has them.
        model: the base, which writes the mined answers.
        tokenizer: its tokenizer.
        count: how many questions to draw; None for all.
        mined_answers: how many answers the model writes to a question without wrong ones.
        seed: the seed of the draws and of the answers.
    """
    share = None if count is None else math.ceil(count / len(pools))
    found: list[Example] = []
    for pool in pools:
        drawn = random.Random(seed).sample(pool, len(pool) if share is None else min(share, len(pool)))
        writer = AnswerWriter(model, tokenizer, drawn, mined_answers, seed)
        examples = with_model_answers(drawn, mined_answers, writer)
        lacking = any(all(wrong.origin != "dataset" for wrong in example.wrong_answers) for example in examples)
        found += with_similar_answers(examples, pool, mined_answers + 1 if lacking else 1, seed)
    if len(pools) > 1:
        random.Random(seed).shuffle(found)
    return found
