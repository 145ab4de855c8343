"""What a cut model learns from: texts that the whole model writes itself, and true answers to training questions."""

import random
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from train.base.replay_texts import write_texts
from train.base.training_examples import training_examples
from train.batching.encoding import Encoder
from train.recipe.arguments import EavssArguments

TEXT_TOKENS = 128
# More rows at once than replay has, since there are many texts.
_BATCH = 128


@dataclass(frozen=True)
class Lessons:
    """What is learnt from.

    Args:
        written: texts of `TEXT_TOKENS` tokens that the whole model has written.
        answered: questions with their first truthful answers.
    """

    written: list[TokenSequence]
    answered: list[TokenSequence]

    @staticmethod
    def of(
        model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: EavssArguments, count: int, seed: int
    ) -> "Lessons":
        """Let the whole model write `count` texts, and draw the recipe's training questions."""
        pools, questions = args.source.training_pools(args.dataset), args.train_questions
        examples = training_examples(pools, model, tokenizer, count=questions, mined_answers=0, seed=seed)
        encoder = Encoder.of(tokenizer, args)
        answered = [encoder(example, example.truthful[:1])[0] for example in examples[:questions]]
        return Lessons(write_texts(model, tokenizer, seed, count=count, length=TEXT_TOKENS, batch=_BATCH), answered)

    def mixed(self, seed: int) -> list[TokenSequence]:
        """Return both kinds in an order by seed."""
        lessons = [*self.written, *self.answered]
        random.Random(seed).shuffle(lessons)
        return lessons
