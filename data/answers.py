"""Decide when two answers are the same answer."""

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from data.numbers import with_digits

_PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = frozenset({"a", "an", "the"})

# Letters with a stroke and the like, which Unicode does not decompose.
_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)
_DASHES = r"\-\u00ad\u2010-\u2015\u2212"
_APOSTROPHES = re.compile(r"['`\u00b4\u02b9-\u02bd\u2018-\u201b\u2032]")
_COMBINING = re.compile(r"[\u0300-\u036f]")
# What Unicode's compatibility forms would join to the digits before it: a fraction or an exponent.
_RAISED = re.compile(r"(?<=\d)(?=[\u00b2\u00b3\u00b9\u2070-\u2079\u00bc-\u00be\u2150-\u215e])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SPELT_OUT = (
    (re.compile(r"&"), " and "),
    (re.compile(r"%|\bper cent\b"), " percent "),
    # A sign before a number, or after a letter, as in a blood group or a grade.
    (re.compile(rf"(?<![\w.)])[{_DASHES}](?=\.?\d)"), " minus "),
    (re.compile(rf"(?<=\b[a-z])[{_DASHES}](?!\w)|(?<=\bab)[{_DASHES}](?!\w)"), " minus "),
    (re.compile(r"\+"), " plus "),
    (re.compile(r"(?<=\b[a-z])[#\u266f]"), " sharp "),
)


def without_case_and_punctuation(answer: str) -> str:
    """Lower the case and drop ASCII punctuation: the rule of lm-evaluation-harness for exact match."""
    return answer.lower().translate(_PUNCTUATION)


@lru_cache(maxsize=1 << 16)
def answer_forms(answer: str) -> tuple[str, ...]:
    """Return the forms of an answer by which it is compared; () where the answer says nothing.

    SQuAD's rule (Rajpurkar et al., 2016) drops case, ASCII punctuation and articles. Here it knows Unicode: accents,
    typographic quotes and dashes, subscripts, "&" and "and", and numbers in digits and in words make no difference.
    Punctuation may join words or part them, as in "Spider-Man", so there are two forms. Digits are not joined, an
    article that is all there is stays, and so does the last word, which is no article: "hepatitis A".
    """
    text = _folded(answer)
    joined, parted = _without_punctuation(text, ""), _without_punctuation(text, " ")
    forms = tuple(dict.fromkeys(" ".join(_essential(form.split())) for form in (joined, parted)))
    # A name that is punctuation alone, such as "!!!", is compared as it stands.
    return tuple(form for form in forms if form) or ((text.strip(),) if text.strip() else ())


def _folded(text: str) -> str:
    """Return the text in lower case, with one way to write each letter, sign and digit."""
    text = unicodedata.normalize("NFKD", _RAISED.sub(" ", text)).casefold()
    text = unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFKD", text)))
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf").translate(_PLAIN_LETTERS)
    text = _THOUSANDS.sub("", _APOSTROPHES.sub("", text))
    for pattern, words in _SPELT_OUT:
        text = pattern.sub(words, text)
    return text


def _without_punctuation(text: str, instead: str) -> str:
    """Replace punctuation and symbols, but keep digits apart and decimal points."""
    kept = []
    for place, letter in enumerate(text):
        between_digits = text[place - 1 : place].isdigit() and text[place + 1 : place + 2].isdigit()
        if unicodedata.category(letter)[0] not in "PS":
            kept.append(letter)
        elif between_digits:
            kept.append("." if letter == "." else " ")
        else:
            kept.append(instead)
    return "".join(kept)


def _essential(words: list[str]) -> list[str]:
    """Write numbers in digits, and drop articles unless there is nothing else."""
    words = with_digits(words)
    if not set(words) - ARTICLES:
        return words
    return [word for place, word in enumerate(words) if word not in ARTICLES or place == len(words) - 1]


def is_same_answer(answer: str, aliases: Iterable[str]) -> bool:
    """Return whether `answer` has a form of one of `aliases` (`answer_forms`)."""
    forms = set(answer_forms(answer))
    return any(not forms.isdisjoint(answer_forms(alias)) for alias in aliases)


def overlaps_answer(answer: str, aliases: Iterable[str]) -> bool:
    """Return whether `answer` is one of `aliases`, or holds its words, or is held by it.

    Containment counts ("Paris" in "Paris, France"), because this decides what may serve as a *wrong* answer. There a
    true answer that is let in by mistake does more harm than a wrong answer that is left out.
    """
    ours = [f" {form} " for form in answer_forms(answer)]
    theirs = [f" {form} " for alias in aliases for form in answer_forms(alias)]
    return any(our in their or their in our for our in ours for their in theirs)
