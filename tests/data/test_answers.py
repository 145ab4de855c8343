"""When two answers are the same."""

import pytest

from data.answers import is_same_answer, normalise_answer


@pytest.mark.parametrize(
    ("answer", "normalised"),
    [
        ("Paris", "paris"),
        ("The  Beatles", "beatles"),
        ("a cat and an owl", "cat and owl"),
        ("Theatre of another age", "theatre of another age"),
        ("J.R.R. Tolkien", "jrr tolkien"),
        ("twenty-one", "twentyone"),
        ('it\'s "over"!', "its over"),
        ("  spaces\tand\nlines ", "spaces and lines"),
        ("São Paulo", "são paulo"),
        ("1,000", "1000"),
        ("The", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_normalise_answer(answer: str, normalised: str) -> None:
    assert normalise_answer(answer) == normalised


@pytest.mark.parametrize(
    ("answer", "aliases", "same"),
    [
        ("Paris", ["Paris"], True),
        ("the PARIS!", ["Paris"], True),
        ("London", ["Paris", "London"], True),
        ("Paris", ["Paris, France"], True),
        ("in Paris, France, surely", ["Paris"], True),
        ("New York", ["the city of New York in America"], True),
        ("Par", ["Paris"], False),
        ("Parisian", ["Paris"], False),
        ("New York", ["York New"], False),
        ("New Amsterdam, York", ["New York"], False),
        ("London", ["Paris"], False),
        ("London", [], False),
        ("Paris", [""], False),
        ("Paris", ["the"], False),
        ("Paris", ["the", "Paris"], True),
        ("", ["Paris"], False),
        ("", [""], False),
        ("the", ["the Paris"], False),
    ],
)
def test_is_same_answer(answer: str, aliases: list[str], same: bool) -> None:
    assert is_same_answer(answer, aliases) is same
    assert is_same_answer(answer, iter(aliases)) is same
