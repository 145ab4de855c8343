"""Write English numbers with digits: "twenty one" as "21", "2.5 million" as "2500000", "third" as "3rd"."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


_BELOW_TWENTY = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth"
)
_ORDINAL_TENS = _words("twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth")

_UNITS = {word: number for number, word in enumerate(_BELOW_TWENTY)}
_MULTIPLES = {word: 10 * number for number, word in enumerate(_TENS, start=2)}
_RANKS = {word: number for number, word in enumerate(_ORDINALS, start=1)}
_RANKS |= {word: 10 * number for number, word in enumerate(_ORDINAL_TENS, start=2)}
_HUNDRED = "hundred"
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def with_digits(words: Sequence[str]) -> list[str]:
    """Replace number words, in lower case, by one word of digits for each number."""
    found: list[str] = []
    place = 0
    while place < len(words):
        written, used = _ordinal(words[place:])
        if not used:
            written, used = _cardinal(words[place:])
        found.append(written if used else words[place])
        place += max(used, 1)
    return found


def _ordinal(words: Sequence[str]) -> tuple[str, int]:
    """Return an ordinal at the beginning of the words as "21st", and how many words it takes, 0 for none."""
    tens = _MULTIPLES.get(words[0], 0)
    rank = _RANKS.get(words[1] if tens and len(words) > 1 else words[0], 0)
    if not rank or (tens and rank > 9):
        return "", 0
    number = tens + rank
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}", 1 + bool(tens)


def _year(words: Sequence[str]) -> tuple[str, int]:
    """Return a year that is read as two numbers, such as "nineteen eighty four", and how many words it takes."""
    century, used = _below_hundred(words)
    rest, taken = _below_hundred(words[used:])
    if not (10 <= century < 100 and 10 <= rest < 100):
        return "", 0
    return f"{century}{rest}", used + taken


def _cardinal(words: Sequence[str]) -> tuple[str, int]:
    """Return a number at the beginning of the words in digits, and how many words it takes, 0 for none."""
    year, read = _year(words)
    if read:
        return year, read
    total, used, scaled = Decimal(0), 0, False
    while used < len(words):
        joined = 1 if scaled and words[used] == "and" else 0
        part, taken = _below_thousand(words[used + joined :])
        if not taken:
            break
        used += joined + taken
        scaled = used < len(words) and words[used] in _SCALES
        total += part * (_SCALES[words[used]] if scaled else 1)
        used += scaled
        if not scaled:
            break
    return (f"{total.normalize():f}", used) if used else ("", 0)


def _below_thousand(words: Sequence[str]) -> tuple[Decimal, int]:
    """Return a number below a thousand, or one in digits before a scale such as "million"."""
    if not words:
        return Decimal(0), 0
    if len(words) > 1 and words[1] in _SCALES and (written := _digits(words[0])) is not None:
        return written, 1
    value, used = _below_hundred(words)
    if used and value < 100 and used < len(words) and words[used] == _HUNDRED:
        joined = 1 if words[used + 1 : used + 2] == ["and"] else 0
        rest, taken = _below_hundred(words[used + 1 + joined :])
        return Decimal(100 * value + rest), used + 1 + (joined + taken if taken else 0)
    return Decimal(value), used


def _below_hundred(words: Sequence[str]) -> tuple[int, int]:
    if words and words[0] in _MULTIPLES:
        unit = _UNITS.get(words[1], 0) if len(words) > 1 else 0
        joins = 0 < unit < 10
        return _MULTIPLES[words[0]] + (unit if joins else 0), 1 + joins
    return (_UNITS[words[0]], 1) if words and words[0] in _UNITS else (0, 0)


def _digits(word: str) -> Decimal | None:
    try:
        return Decimal(word) if word[:1].isdigit() else None
    except InvalidOperation:
        return None
