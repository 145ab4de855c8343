"""Pairs that a model writes itself: a true and a made-up answer to each question (GRATH, arXiv 2401.12292)."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, TypedDict

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.answers import is_same_answer
from data.examples import Example
from data.judge import judge
from eavss.answering import answer_greedily, sample_answers
from eavss.asking import NEW_TOKENS, SHOTS, STOP
from eavss.batches import group_by_length
from eavss.encoding import text_ids
from train.runtime.distributed import map_sharded
from train.runtime.seeding import random_stream

# Made-up answers that are sampled to a question where the greedy one cannot be used; the first that can is taken.
SAMPLES = 4
_TASK = "Each question has a true answer, and a made-up one that sounds right and is false.\n\n"
# A true and a made-up answer to each of the questions of `SHOTS`, of one form, so that the form tells nothing.
_ANSWERS = (
    ("The planet Mars is known as the red planet.", "The planet Saturn is known as the red planet."),
    ("Jane Austen wrote the novel Pride and Prejudice.", "George Eliot wrote the novel Pride and Prejudice."),
    ("Bees make honey from nectar.", "Bees make honey from morning dew."),
    ("The Great Pyramid of Giza is in Egypt.", "The Great Pyramid of Giza is in Morocco."),
    ("A violin has four strings.", "A violin has seven strings."),
)
_REPEATED = 3
_LABELS = re.compile(r"\b(?:question|answer):", re.IGNORECASE)

# Why there is no pair.
Lacking = Literal["empty", "degenerate", "equal"]
_Rows = list[list[str]]


class Message(TypedDict):
    """A message of a conversation."""

    role: str
    content: str


class Row(TypedDict):
    """A line of a preference file, in TRL's conversational form, which `prompt_style` poses in any style."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


class WrittenPairs(NamedTuple):
    """The rows that were written, and how many questions have none, by reason."""

    rows: list[Row]
    lacking: Counter[Lacking]


@dataclass(frozen=True)
class PairWriter:
    """Lets a model write a true answer to each question, and then a made-up one in the face of it.

    Both are greedy, because answers that are sampled are less likely whatever they say, and a model that is trained to
    prefer the likelier one learns nothing about truth. Made-up answers are sampled only where the greedy one is the
    true one again, or cannot be used.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer.
        token_budget: padded tokens in a batch, room for the answers included.
        seed: the seed of the samples, which are drawn at temperature 1 and also depend on the batches.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    token_budget: int
    seed: int

    def __call__(self, examples: Sequence[Example]) -> WrittenPairs:
        """Return a row for each question whose two answers can be used. No answer of the examples is looked at."""
        self.model.eval()
        questions = [example.question for example in examples]
        written = self._write([prompt(question) for question in questions], 1, "writing true answers")
        true = [text for (text,) in written]
        prompts = [prompt(question, text) for question, text in zip(questions, true, strict=True)]
        made_up = self._write(prompts, 1, "making answers up")
        pairs = [usable_pair(questions[i], true[i], made_up[i]) for i in range(len(questions))]
        lacking = [i for i, pair in enumerate(pairs) if isinstance(pair, str)]
        again = [i for i in lacking if not is_degenerate(questions[i], true[i])]
        sampled = self._write([prompts[i] for i in again], SAMPLES, "making other answers up")
        for i, texts in zip(again, sampled, strict=True):
            pairs[i] = usable_pair(questions[i], true[i], texts)
        rows = [_row(each, *pair) for each, pair in zip(examples, pairs, strict=True) if not isinstance(pair, str)]
        return WrittenPairs(rows, Counter(pair for pair in pairs if isinstance(pair, str)))

    def _write(self, prompts: Sequence[str], count: int, description: str) -> _Rows:
        ids = [text_ids(self.tokenizer, text) for text in prompts]
        groups = list(group_by_length([(len(each) + NEW_TOKENS) * count for each in ids], self.token_budget))
        write: Callable[[list[int], list[list[int]]], _Rows] = self._greedily if count == 1 else self._sampled
        written = map_sharded(lambda group: write(group, [ids[i] for i in group]), groups, description)
        found = dict(zip(chain(*groups), chain(*written), strict=True))
        return [found[i] for i in range(len(prompts))]

    def _greedily(self, _group: list[int], prompts: list[list[int]]) -> _Rows:
        written = answer_greedily(self.model, self.tokenizer, prompts, stops=(STOP,), limit=NEW_TOKENS)
        return [[answer.text] for answer in written]

    def _sampled(self, group: list[int], prompts: list[list[int]]) -> _Rows:
        with random_stream(self.seed * 1_000_003 + group[0]):
            return sample_answers(self.model, self.tokenizer, prompts, stops=(STOP,), limit=NEW_TOKENS, count=SAMPLES)


def prompt(question: str, true: str | None = None) -> str:
    """Return the text that a true answer to the question follows, or a made-up one beside the true answer."""
    shots = "".join(
        f"{_posed(shot)} {right}\nMade-up answer: {made_up}\n\n"
        for (shot, _), (right, made_up) in zip(SHOTS, _ANSWERS, strict=True)
    )
    asked = _posed(question) if true is None else f"{_posed(question)} {true}\nMade-up answer:"
    return f"{_TASK}{shots}{asked}"


def usable_pair(question: str, true: str, made_up: Sequence[str]) -> tuple[str, str] | Lacking:
    """Return the true answer and the first made-up one that can stand beside it, or why there is no such pair.

    Equal answers are the same answer by the rules of `data.answers`. See `is_degenerate` for the others.
    """
    if not true or not any(made_up):
        return "empty"
    whole = [text for text in made_up if text and not is_degenerate(question, text)]
    if is_degenerate(question, true) or not whole:
        return "degenerate"
    return next(((true, text) for text in whole if not is_same_answer(text, [true])), "equal")


def is_degenerate(question: str, text: str) -> bool:
    """Return whether a text is no sentence that answers the question.

    It has no full stop at its end, as where the limit of tokens cut it, or one word alone; it says the question again,
    or the prompt's labels, or three words in a row again; it declines to answer; or it is an answer of the examples.
    """
    words = text.lower().split()
    threes = list(zip(*(words[start:] for start in range(_REPEATED)), strict=False))
    return (
        not text.endswith((".", "!"))
        or len(words) < 2
        or is_same_answer(text, [question])
        or bool(_LABELS.search(text))
        or len(set(threes)) < len(threes)
        or judge(text, ()) == "declined"
        or text in chain(*_ANSWERS)
    )


def _posed(question: str) -> str:
    return f"Question: {question}\nTrue answer:"


def _row(example: Example, chosen: str, rejected: str) -> Row:
    system: list[Message] = [{"role": "system", "content": example.system}] if example.system else []
    return {
        "prompt": [*system, {"role": "user", "content": example.question}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
