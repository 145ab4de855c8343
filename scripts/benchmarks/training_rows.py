"""The pairs of the training benchmark: those of a set, or long ones that are put together from its texts."""

from collections.abc import Sequence
from itertools import chain, cycle, islice

from transformers import PreTrainedTokenizerBase

from data.examples import Example, wrong_answers
from data.sources import DataSource
from train.batching.encoding import Encoder
from train.batching.pairs import ContrastPairs, make_pairs

_MAX_LENGTH = 512
_PAIRS_PER_QUESTION = 4
_AROUND = 32  # tokens: what the prompt style puts around a question, and what cutting a text may add


def training_pairs(
    root: str, tokenizer: PreTrainedTokenizerBase, count: int, lengths: Sequence[int] | None = None
) -> ContrastPairs:
    """Return pairs of TruthfulQA's rows, or as many of stated lengths.

    Args:
        root: the folder of the sets.
        count: the number of pairs.
        lengths: about how many tokens the prompt and each answer should have; None for the rows as they are, with four
            different pairs of a question, as in the recipe.
    """
    examples = DataSource(root, 0.1).split("truthfulqa").train
    if lengths is None:
        encoder = Encoder(tokenizer, "plain", _MAX_LENGTH)
        pairs = make_pairs(examples, encoder, _PAIRS_PER_QUESTION, with_positive=False, seed=0)
        return ContrastPairs(list(pairs)[:count])
    encoder = Encoder(tokenizer, "plain", sum(lengths) + _AROUND)
    return make_pairs(_long(examples, tokenizer, count, *lengths), encoder, 1, with_positive=False, seed=0)


def _long(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, count: int, prompt: int, answer: int
) -> list[Example]:
    texts = (text for each in examples for text in (each.question, *each.truthful, *each.hallucinated))
    stream = cycle(chain.from_iterable(tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in texts))

    def of(tokens: int) -> str:
        return str(tokenizer.decode(list(islice(stream, tokens)))).strip()

    return [Example("long", of(prompt), (of(answer),), wrong_answers([of(answer)], "dataset")) for _ in range(count)]
