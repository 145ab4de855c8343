"""When two answers are the same."""

import pytest

from data.answers import answer_forms, is_same_answer, overlaps_answer


@pytest.mark.parametrize(
    ("answer", "forms"),
    [
        ("Paris", ("paris",)),
        ("The  Beatles", ("beatles",)),
        ("a cat and an owl", ("cat and owl",)),
        ("Theatre of another age", ("theatre of another age",)),
        ("J.R.R. Tolkien", ("jrr tolkien", "j r r tolkien")),
        ("twenty-one", ("twentyone", "21")),
        ('it\'s "over"!', ("its over",)),
        ("  spaces\tand\nlines ", ("spaces and lines",)),
        ("São Paulo", ("sao paulo",)),
        ("1,000", ("1000",)),
        ("The", ("the",)),
        ("?!", ("?!",)),
        (" ", ()),
        ("\u200b", ()),
        ("", ()),
    ],
)
def test_forms(answer: str, forms: tuple[str, ...]) -> None:
    assert answer_forms(answer) == forms


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("don\u2019t stop", "don't stop"),  # typographic apostrophes and quotes
        ("\u201cYesterday\u201d", '"Yesterday"'),
        ("Rock \u2019n\u2019 Roll", "rock 'n' roll"),
        ("1914\u20131918", "1914-1918"),  # dashes
        ("spider man", "Spider\u2010Man"),
        ("spiderman", "Spider-Man"),
        ("Beyonce\u0301", "Beyonc\u00e9"),  # accents
        ("Beyonce", "Beyonc\u00e9"),
        ("Łódź", "Lodz"),
        ("Straße", "STRASSE"),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("seven", "7"),  # numbers
        ("Seven Samurai", "7 samurai"),
        ("5 million", "5,000,000"),
        ("two thousand and four", "2004"),
        ("the third", "3rd"),
        ("five per cent", "5%"),
        ("CO\u2082", "CO2"),  # subscripts, widths, ligatures, fractions
        ("\uff15", "5"),
        ("\ufb01sh", "fish"),
        ("\u00bd", "1/2"),
        ("U.S.A.", "USA"),
        ("J. K. Rowling", "J.K. Rowling"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u22125", "-5"),
    ],
)
def test_the_same_answer_in_other_characters(answer: str, other: str) -> None:
    assert is_same_answer(answer, [other])
    assert is_same_answer(other, iter(["something else", answer]))


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("A", ""),  # what is left when articles and punctuation are gone matches nothing
        ("The The", ""),
        ("The The", "the"),
        ("!!!", ""),
        ("!!!", "???"),
        ("", ""),
        ("hepatitis A", "hepatitis"),
        ("vitamin A", "vitamin B"),
        ("1-0", "10"),  # digits are not joined
        ("3.14", "314"),
        ("10\u00b2", "102"),
        ("2\u00bd", "212"),
        ("-5", "5"),  # signs
        ("A+", "A-"),
        ("AB-", "AB+"),
        ("C++", "C"),
        ("C#", "C"),
        ("007", "7"),
        ("twenty-one", "201"),
    ],
)
def test_another_answer(answer: str, other: str) -> None:
    assert not is_same_answer(answer, [other])
    assert not is_same_answer(other, [answer])


@pytest.mark.parametrize("answer", ["हिन्दी", "かばん", "ой", "한국"])
def test_marks_that_are_letters_stay(answer: str) -> None:
    """Vowel signs, voicing marks and jamo are not accents; only the marks of Latin, Greek and Cyrillic letters go."""
    assert is_same_answer(answer, [answer])
    assert len(answer_forms(answer)[0]) == len(answer)


@pytest.mark.parametrize(
    ("answer", "aliases", "overlaps"),
    [
        ("Paris", ["Paris"], True),
        ("the PARIS!", ["Paris"], True),
        ("London", ["Paris", "London"], True),
        ("Paris", ["Paris, France"], True),
        ("in Paris, France, surely", ["Paris"], True),
        ("New York", ["the city of New York in America"], True),
        ("the 7 samurai of Japan", ["Seven Samurai"], True),
        ("Beyonce\u0301 Knowles", ["Beyonce"], True),
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
def test_overlapping_answers(answer: str, aliases: list[str], overlaps: bool) -> None:
    assert overlaps_answer(answer, aliases) is overlaps
    assert overlaps_answer(answer, iter(aliases)) is overlaps
