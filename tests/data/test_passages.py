"""Passages that do not answer their question."""

from dataclasses import replace

from data.examples import Example
from data.passages import with_other_passages, with_passages


def question(number: int, passage: str) -> Example:
    return Example("sciq", f"what is {number}", (f"tin {number}",), aliases=(f"tin {number}",), support=passage)


EXAMPLES = [question(number, f"It is tin {number}, they say.") for number in range(8)]


def test_another_questions_passage_replaces_its_own() -> None:
    moved = with_other_passages(EXAMPLES, seed=3)
    assert moved == with_other_passages(EXAMPLES, seed=3) != with_other_passages(EXAMPLES, seed=4)
    for own, other in zip(EXAMPLES, moved, strict=True):
        assert other is not None
        assert other.support in {each.support for each in EXAMPLES} - {own.support}
        assert replace(other, support=own.support) == own


def test_a_passage_that_holds_the_answer_or_belongs_to_the_same_question_is_not_taken() -> None:
    told = question(1, "The Tin-1 is meant here too.")
    again = replace(EXAMPLES[1], question="What is 1?", support="Nothing is said.", truthful=("zinc",), aliases=())
    assert with_other_passages([EXAMPLES[1], told, again], seed=0) == [None, None, None]
    free = question(2, "Lead.")
    assert with_other_passages([EXAMPLES[1], told, free], seed=0)[0] == replace(EXAMPLES[1], support="Lead.")


def test_a_question_without_a_passage_gets_none() -> None:
    bare = question(9, "")
    assert with_other_passages([*EXAMPLES, bare], seed=0)[-1] is None
    assert with_passages([*EXAMPLES, bare]) == EXAMPLES
    assert with_passages([bare]) == [bare]
