"""Which questions a run learns from."""

from collections import Counter

from data.examples import Example
from data.sets import SETS
from data.sources import DataSource
from tests.toys import tiny_model, tiny_tokenizer
from train.base.training_examples import training_examples


def drawn(count: int | None, seed: int = 0) -> list[Example]:
    pools = DataSource("samples").training_pools("all")
    return training_examples(pools, tiny_model("llama"), tiny_tokenizer(), count=count, mined_answers=0, seed=seed)


def test_of_all_sets_as_many_questions_of_each_are_taken_mixed_by_the_seed() -> None:
    first, again, other = drawn(50), drawn(50), drawn(50, seed=1)
    assert Counter(example.dataset for example in first) == dict.fromkeys(SETS, 10)
    assert len({example.dataset for example in first[:20]}) > 3
    assert first == again
    assert [e.question for e in first] != [e.question for e in other]
    assert all(example.hallucinated for example in first)
