"""Judge what a model says when it is asked: right, wrong, declined or empty.

A short answer is compared as it stands. In a sentence the answer is looked for: an alias counts where it stands whole,
is not negated, is not one of several candidates, and is not just repeated from the question. docs/evaluation.md has the
rules in words, and how often they agree with labels by hand.
"""

import re
from collections.abc import Iterable
from typing import Literal

from data.answers import ARTICLES, answer_forms, is_same_answer

Verdict = Literal["right", "wrong", "declined", "empty"]

_KNOW = (
    r"(?:know|say|tell|answer|recall|remember|determine|verify|confirm|provide|find|identify|be sure|be certain|help|"
    r"assist)"
)
_CANNOT = (
    r"(?:do not|dont|did not|didnt|can ?not|cant|could not|couldnt|would not|wouldnt|am unable to|am not able to|"
    r"im unable to|im not able to|unable to)"
)
_REFUSALS = (
    rf"\b{_CANNOT} (?:\w+ ){{0,2}}{_KNOW}\b",
    r"\b(?:can ?not|cant|could not|couldnt) be (?:\w+ )?(?:known|determined|established|answered|verified|confirmed)\b",
    r"\b(?:id|would|i) (?:need|have) to (?:look|check|search|verify|research|ask)\b",
    r"\b(?:not|isnt|arent) (?:\w+ )?(?:sure|certain|aware|familiar|confident)\b",
    r"\b(?:uncertain|unsure)\b",
    r"\bno (?:idea|clue|comment|answer|information|knowledge|way of knowing|way to know|data)\b",
    r"\bnot (?:have|enough|sufficient)\b.{0,25}\b(?:information|context|knowledge|answer|access|details|data|idea)\b",
    r"\b(?:dont|do not) (?:\w+ )?have\b",
    r"\b(?:insufficient|lack|lacking) (?:\w+ )?(?:information|context|knowledge|data)\b",
    r"\b(?:beyond|outside|out of) (?:of )?(?:my|what i)\b",
    r"\b(?:rather|prefer) not\b|\bcan only guess\b",
    r"\bhavent (?:a|the|any|got)\b|\bhave not (?:a|the|any) (?:clue|idea)\b",
    rf"\b(?:hard|impossible|difficult|not possible) (?:for me )?to {_KNOW}\b",
    r"\bnot (?:known|something i)\b|\bno one knows\b|\bnobody knows\b",
    r"\b(?:beats me|who knows|guess is as good|decline to|i give up|i pass|escapes me|slipped my mind|at a loss)\b",
    r"^(?:dunno|idk|dont know|unknown|n a|na|none|pass|no answer|unanswerable|undetermined|unclear|sorry)$",
)
_REFUSAL = re.compile("|".join(_REFUSALS))
# What may follow a refusal without being an answer.
_FILLER = re.compile(
    r"\b(?:you (?:should|can|could|may|might|would|will)|your|please|recommend|suggest|consult|check|look (?:it )?up|"
    r"provide|clarify|rephrase|context|let me know|happy to|glad to|help you|assist you|as an ai|language model|sorry|"
    r"apologi[sz]e|afraid|wrong|mislead|misleading|guess(?:ing)?|make (?:something|it|one) up|question|reliable)\b"
)
_ASSERTION = re.compile(
    r"\b(?:think|believe|suppose|suspect|probably|perhaps|maybe|possibly|likely|say|is|was|are|were|its|be)\b"
)
_CLAUSE = re.compile(
    r"[.;!?\n]+(?=\s|$)|,? ?\b(?:but|however|though|although)\b,?|,(?= (?:i|it|its|maybe|perhaps|probably|possibly)\b)",
    re.IGNORECASE,
)
_NEGATIONS = frozenset(
    {"not", "never", "isnt", "wasnt", "arent", "werent", "nor", "neither", "unlike", "except", "without"}
)
_NEGATED_AFTER = re.compile(r"^(?:is|was|are|were|did|does)(?:nt| not)\b")
# "... is often attributed to X, but it is actually Y"
_CORRECTED = re.compile(r"\bbut (?:\w+ ){0,3}(?:actually|really|in fact|in reality)\b")
_INSTEAD = (["rather", "than"], ["instead", "of"], ["as", "opposed", "to"])
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


def is_refusal(answer: str) -> bool:
    """Return whether an answer declines to answer and gives no answer."""
    said, refused = _without_refusals(answer)
    return refused and not said


def _without_refusals(answer: str) -> tuple[str, bool]:
    """Return the clauses of an answer that do not decline it, and whether some decline it."""
    clauses = [clause for clause in _CLAUSE.split(answer) if clause and clause.strip(" ,\"'")]
    declining = [bool(_REFUSAL.search(_plain(clause))) for clause in clauses]
    if not any(declining):
        return answer, False
    rest = [clause for clause, declines in zip(clauses, declining, strict=True) if not declines]
    answering = [clause for clause in rest if _ASSERTION.search(_plain(clause)) and not _FILLER.search(_plain(clause))]
    return ". ".join(answering), True


def _plain(clause: str) -> str:
    forms = answer_forms(clause)
    return forms[0] if forms else ""


def _gives(answer: str, aliases: list[str], question: str) -> bool:
    """Return whether a text gives one of the aliases as its answer."""
    return any(
        _gives_form(words.split()[:_LONGEST], form.split(), aliases, question)
        for words in answer_forms(answer)
        for alias in aliases
        for form in answer_forms(alias)
        if set(form.split()) - ARTICLES
    )


def _gives_form(words: list[str], form: list[str], aliases: list[str], question: str) -> bool:
    size = len(form)
    places = [place for place in range(len(words) - size + 1) if words[place : place + size] == form]
    stated = [place for place in places if not _denied(words, place, size)]
    if not stated or len(stated) < len(places):
        return False
    if any(_undecided(words, place, size, aliases) for place in stated):
        return False
    asked = f" {' '.join(answer_forms(question)[-1:])} "
    if f" {' '.join(form)} " in asked:
        # It may repeat the question, so it has to be what the sentence begins or ends with.
        return stated[0] == 0 or stated[-1] + size == len(words)
    return True


def _denied(words: list[str], place: int, size: int) -> bool:
    """Return whether the words at a place are negated by what stands just before or after them."""
    before, after = words[max(0, place - 3) : place], " ".join(words[place + size : place + size + 2])
    if any(before[-len(phrase) :] == phrase for phrase in _INSTEAD) or _NEGATED_AFTER.match(after):
        return True
    if _CORRECTED.search(" ".join(words[place + size :])):
        return True
    near = [word for word in before if word not in ("in", "by", "at", "on", "called", "named", "of")][-1:]
    return bool(set(near) & _NEGATIONS)


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
