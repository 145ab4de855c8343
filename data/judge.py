"""Judge what a model says when it is asked: right, wrong, declined or empty.

A short answer is compared as it stands. In a sentence the answer is looked for: an alias counts where it stands whole,
is not negated, is not one of several candidates, and is not just repeated from the question. docs/evaluation.md has the
rules in words, and how often they agree with labels by hand.
"""

import re
from collections.abc import Iterable
from typing import Literal, get_args

from data.answers import ARTICLES, answer_forms, is_same_answer

Verdict = Literal["right", "wrong", "declined", "empty"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_KNOW = (
    r"(?:know|say|tell|answer|recall|remember|determine|verify|confirm|provide|find|identify|be sure|be certain|help|"
    r"assist)"
)
_CANNOT = (
    r"(?:do not|dont|did not|didnt|can ?not|cant|could not|couldnt|would not|wouldnt|am unable to|am not able to|"
    r"im unable to|im not able to|unable to)"
)
# Who declines: the speaker, or nobody who is named. "Noble gases do not have ..." declines nothing.
_ME = r"(?:^|\b(?:i|we)(?: \w+){0,2} )"
# Forms of answers have no articles, and "one" is 1 in them (data.answers).
_REFUSALS = (
    rf"{_ME}{_CANNOT} (?:\w+ ){{0,2}}{_KNOW}\b",
    r"\b(?:can ?not|cant|could not|couldnt) be (?:\w+ )?(?:known|determined|answered|verified|confirmed)\b",
    r"\b(?:id|would|i) (?:need|have) to (?:look|check|search|verify|research|ask)\b",
    r"\b(?:not|isnt|arent) (?:\w+ )?(?:sure|certain|aware|familiar|confident)\b",
    r"\b(?:uncertain|unsure)\b",
    r"\bno (?:idea|clue|comment|answer|information|knowledge|way of knowing|way to know|data)\b",
    rf"{_ME}(?:\w+ )?not have\b.{{0,25}}\b(?:information|context|knowledge|answer|access|details|data)\b",
    r"\bnot (?:enough|sufficient) (?:information|context|knowledge|details|data)\b",
    rf"{_ME}(?:dont|do not) (?:\w+ )?have\b",
    r"\b(?:insufficient|lack|lacking) (?:\w+ )?(?:information|context|knowledge|data)\b",
    r"\b(?:beyond|outside|out of) (?:of )?(?:my|what i)\b",
    r"\b(?:rather|prefer) not\b|\bcan only guess\b|\b(?:refuse|decline) to\b",
    r"\b(?:wont|will not) (?:answer|say|guess)\b|\b(?:ai|language model)\b.*\b(?:do not|dont|cannot|cant)\b",
    r"\b(?:havent|have not)(?: got)? (?:clue|foggiest|faintest|idea|any idea|slightest)\b",
    rf"\b(?:hard|impossible|difficult|not possible) (?:for me )?to {_KNOW}\b",
    r"\bnot (?:known|available|something i)\b|\b(?:no 1|nobody|noone) knows\b|\bany(?:1|one|body)s guess\b",
    r"\b(?:beats me|who knows|guess is as good|i give up|i pass|escapes me|slipped my mind|at loss)\b",
    r"^(?:dunno|idk|dont know|unknown|n a|na|none|pass|no answer|unanswerable|undetermined|unclear|sorry)$",
)
_REFUSAL = re.compile("|".join(_REFUSALS))
# What may follow a refusal without being an answer.
_FILLER = re.compile(
    r"\b(?:you (?:should|can|could|may|might|would|will)|your|please|recommend|suggest|consult|check|look (?:it )?up|"
    r"provide|clarify|rephrase|context|let me know|happy to|glad to|help you|assist you|as ai|language model|sorry|"
    r"thanks?|unfortunately|honestly|regret|apolog\w+|"
    r"afraid|wrong|mislead|misleading|guess(?:ing)?|make (?:something|it|1) up|question|reliable)\b"
)
# A clause of so few words beside a refusal is an answer: "Paris, but I am not sure".
_BARE = 4
_ASSERTION = re.compile(
    r"\b(?:think|believe|suppose|suspect|probably|perhaps|maybe|possibly|likely|say|is|was|are|were|its|be)\b"
)
_CLAUSE = re.compile(
    r"[.;!?\n]+(?=\s|$)|,? ?\b(?:but|however|though|although)\b,?|,(?= (?:i|it|its|maybe|perhaps|probably|possibly)\b)",
    re.IGNORECASE,
)
# What stands before the words that it negates: "not (the city of) X", and "I do not think that it is X".
_NEGATION = re.compile(
    r"\b(?:not|never|nor|neither|unlike|except|without|no|isnt|wasnt|arent|werent|cant|cannot|couldnt|wont|rather than|"
    r"instead of|as opposed to)(?: (?!(?:is|are|was|were|until|only)\b)\w+){0,3}$"
    r"|\b(?:dont|do not|doesnt|didnt|did not|cant|cannot) (?:think|believe|suppose|say|agree)(?: \w+){0,4}$"
    r"|\bdoubt(?: \w+){0,4}$"
)
_NEGATED_AFTER = re.compile(r"^(?:is|was|are|were|did|does|can|could)(?:nt| not|not)\b")
# "... is often attributed to X, but it is actually Y"
_CORRECTED = re.compile(r"\bbut (?:\w+ ){0,3}(?:actually|really|in fact|in reality)\b")
_PHRASE = re.compile(r"[.;!?\n]+(?=\s|$)|,(?=\s)|\bbut\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[.;!?\n]+(?=\s|$)")
_SLASH = re.compile(r"(?<=[^\W\d])\s*/\s*(?=[^\W\d])")
_ITEM = re.compile(r",\s*(?:or\s+)?|\s+or\s+", re.IGNORECASE)
# What stands before the answer in a sentence that only names it.
_NAMING = ("is", "was", "are", "were", "be", "called", "named", "its")
# A sentence says its answer near its beginning; a text that goes on for long mentions much.
_LONGEST = 60


def judge(answer: str, aliases: Iterable[str], question: str = "") -> Verdict:
    """Return what an answer is worth.

    Args:
        answer: what the model said.
        aliases: every text that counts as right.
        question: what it was asked; a text that is repeated from there is no answer by itself.
    """
    aliases = list(aliases)
    if not any(letter.isalnum() for letter in answer):
        return "right" if is_same_answer(answer, aliases) else "empty"
    if is_same_answer(answer, aliases):
        return "right"
    said, refused = _without_refusals(answer)
    if refused and not said:
        return "declined"
    return "right" if _gives(said, aliases, question) else "wrong"


def _without_refusals(answer: str) -> tuple[str, bool]:
    """Return the clauses of an answer that do not decline it, and whether some decline it."""
    clauses = [clause for clause in _CLAUSE.split(answer) if clause and clause.strip(" ,\"'")]
    declining = [bool(_REFUSAL.search(_plain(clause))) for clause in clauses]
    if not any(declining):
        return answer, False
    rest = [clause for clause, declines in zip(clauses, declining, strict=True) if not declines]
    return ". ".join(clause for clause in rest if _answers(_plain(clause))), True


def _answers(clause: str) -> bool:
    """Return whether a clause beside a refusal gives an answer."""
    return not _FILLER.search(clause) and (len(clause.split()) <= _BARE or bool(_ASSERTION.search(clause)))


def _plain(clause: str) -> str:
    forms = answer_forms(clause)
    return forms[0] if forms else ""


def _gives(answer: str, aliases: list[str], question: str) -> bool:
    """Return whether a text gives one of the aliases as its answer."""
    return any(
        _gives_form(words.split()[:_LONGEST], form.split(), aliases, question)
        and not _denies(answer, form)
        and not _lists(answer, form, aliases)
        for words in answer_forms(answer)
        for alias in aliases
        for form in answer_forms(alias)
        if set(form.split()) - ARTICLES
    )


def _gives_form(words: list[str], form: list[str], aliases: list[str], question: str) -> bool:
    size = len(form)
    places = [place for place in range(len(words) - size + 1) if words[place : place + size] == form]
    if not places or any(_undecided(words, place, size, aliases) for place in places):
        return False
    if _CORRECTED.search(" ".join(words[places[0] + size :])):
        return False
    asked = f" {' '.join(answer_forms(question)[-1:])} "
    return f" {' '.join(form)} " not in asked or _answers_with(words, places, size, offered=" or " in asked)


def _answers_with(words: list[str], places: list[int], size: int, offered: bool) -> bool:
    """Return whether a text gives as its answer what stands in the question too.

    Args:
        offered: the question offers several things, so that a sentence may begin with the one that it chooses.
    """
    last = places[-1]
    ends = last + size == len(words)
    if offered:
        return places[0] == 0 or ends
    return ends and last > 0 and words[last - 1] in _NAMING


def _denies(answer: str, form: str) -> bool:
    """Return whether a phrase of the answer that has the alias negates it: "not X", "X is not", "X? No"."""
    phrases = [_plain(phrase) for phrase in _PHRASE.split(answer)]
    for number, phrase in enumerate(phrases):
        before, found, after = f" {phrase} ".partition(f" {form} ")
        if found and (_NEGATION.search(before) or _NEGATED_AFTER.match(after)):
            return True
        following = " ".join(phrases[number + 1 : number + 2]).split()
        if found and not after.strip() and following[:1] == ["no"]:
            return True
    return False


def _lists(answer: str, form: str, aliases: list[str]) -> bool:
    """Return whether the alias is one of several candidates in a list: "X/Y", or "X, Y or Z"."""
    for sentence in _SENTENCE.split(answer):
        items = [_plain(item) for item in _ITEM.split(_SLASH.sub(" or ", sentence))]
        several = _SLASH.search(sentence) or (len(items) > 2 and " or " in sentence)
        short = all(len(item.split()) <= _BARE for item in items[1:])
        named = [f" {form} " in f" {item} " for item in items]
        others = [item for item, holds in zip(items, named, strict=True) if not holds]
        if several and short and any(named) and not all(is_same_answer(other, aliases) for other in others):
            return True
    return False


def _undecided(words: list[str], place: int, size: int, aliases: list[str]) -> bool:
    """Return whether the words at a place are one of several candidates, joined by "or"."""
    if words[place + size : place + size + 1] == ["or"]:
        other = words[place + size + 1 : place + size + 7]
    elif place > 1 and words[place - 1] == "or":
        other = words[max(0, place - 7) : place - 1]
    else:
        return "or" in words and "either" in words[:place]
    # "Burma or Myanmar" names one thing twice.
    text = f" {' '.join(other)} "
    named = (f" {form} " for alias in aliases for form in answer_forms(alias))
    return not any(form in text for form in named)
