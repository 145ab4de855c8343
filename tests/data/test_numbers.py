"""English numbers in words become digits."""

import pytest

from data.numbers import with_digits


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("zero", "0"),
        ("seven", "7"),
        ("twenty", "20"),
        ("twenty one", "21"),
        ("twenty one guns", "21 guns"),
        ("twenty twelve", "2012"),
        ("one hundred", "100"),
        ("one hundred and five", "105"),
        ("one hundred and more", "100 and more"),
        ("nine hundred ninety nine", "999"),
        ("two thousand", "2000"),
        ("two thousand and four", "2004"),
        ("two thousand four hundred twelve", "2412"),
        ("one million two hundred thousand", "1200000"),
        ("5 million", "5000000"),
        ("2.5 billion", "2500000000"),
        ("007", "007"),
        ("5", "5"),
        ("nineteen eighty four", "1984"),
        ("nineteen five", "19 5"),
        ("one two three", "1 2 3"),
        ("first", "1st"),
        ("twenty first", "21st"),
        ("twenty twelfth", "20 12th"),
        ("eleventh", "11th"),
        ("thirtieth", "30th"),
        ("henry the eighth and two cats", "henry the 8th and 2 cats"),
        ("thousand", "thousand"),
        ("hundred", "hundred"),
        ("and", "and"),
        ("", ""),
    ],
)
def test_with_digits(words: str, written: str) -> None:
    assert with_digits(words.split()) == written.split()
