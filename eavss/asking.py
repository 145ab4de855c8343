"""Ask a model a question, hear how sure it is of its answer, and whether it should rather decline."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from eavss.answer_states import answer_states
from eavss.answering import answer_greedily
from eavss.chat import Turn, answer_prompt, turn_end_ids
from eavss.confidence import Calibration, Confidence, confidence_of
from eavss.encoding import encode_answers, text_ids

NEW_TOKENS, CHAT_TOKENS = 32, 64
# Tokens of a prompt and its answer; a question has far fewer.
_LONGEST = 4096
# What ends an answer in the plain style.
STOP = "\n"
# Five questions of our own, of the kinds that the sets ask. They show that an answer is short and ends its line.
SHOTS = (
    ("Which planet is known as the red planet?", "Mars"),
    ("who wrote the novel pride and prejudice", "Jane Austen"),
    ("What do bees collect from flowers to make honey?", "nectar"),
    ("In which country is the Great Pyramid of Giza?", "Egypt"),
    ("how many strings does a violin have", "4"),
)


# What asks the model to decline, and the questions that show how. They stand second and fifth among the others.
ASK_TO_DECLINE = "Answer the question. If you are not sure of the answer, say: I don't know."
_DECLINED = (
    ("What did the neighbours across the street have for lunch yesterday?", "I don't know"),
    ("who will win the cup final in ninety years", "I don't know"),
)
SHOTS_THAT_DECLINE = (SHOTS[0], _DECLINED[0], *SHOTS[1:3], _DECLINED[1], *SHOTS[3:])


def plain_prompt(question: str, passage: str = "") -> str:
    """Return a question as the plain style poses it, after the passage that should answer it and before its answer."""
    before = f"{passage.strip()}\n" if passage.strip() else ""
    return f"{before}Question: {question}\nAnswer:"


def chat_question(question: str, passage: str = "") -> str:
    """Return a question as the chat style poses it, after the passage that should answer it."""
    return f"{passage.strip()}\n\n{question}" if passage.strip() else question


def answered_questions(shots: Iterable[tuple[str, str]]) -> str:
    """Return questions with their answers, as the plain style shows them before a question."""
    return "".join(f"{plain_prompt(question)} {answer}\n\n" for question, answer in shots)


FEW_SHOT = answered_questions(SHOTS)


class Pose(NamedTuple):
    """How a question is posed.

    Args:
        shots: the answered questions before it in the plain style; None for the chat template.
        system: the system message; empty for none.
    """

    shots: str | None
    system: str = ""

    def prompt(self, tokenizer: PreTrainedTokenizerBase, question: str, passage: str) -> str:
        """Return the text before the answer."""
        if self.shots is not None:
            before = f"{self.system}\n\n" if self.system else ""
            return f"{before}{self.shots}{plain_prompt(question, passage)}"
        system: list[Turn] = [("system", self.system)] if self.system else []
        return answer_prompt(tokenizer, [*system, ("user", chat_question(question, passage))])


PLAIN = Pose(FEW_SHOT)


class Answer(NamedTuple):
    """What a model said.

    Args:
        text: its answer, which may be empty.
        confidence: how sure it is; None for an empty answer.
        declined: whether the threshold declines the answer; False where there is no calibration.
    """

    text: str
    confidence: Confidence | None
    declined: bool


def ask(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    calibration: Calibration | Path | None = None,
    keep: int = 80,
    passage: str = "",
    pose: Pose = PLAIN,
) -> Answer:
    """Let a model answer one question greedily, and decline where its confidence is below the threshold.

    Args:
        model: a causal LM of transformers, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        question: a question in one line.
        calibration: what `confidence.json` holds, or where it is; None to decline nothing.
        keep: the share of right answers that the threshold should keep: 60, 80 or 90 per cent.
        passage: a text that should answer the question; empty for none.
        pose: how the question is posed; a calibration says it itself.

    Raises:
        EavssError: there is no such calibration or threshold, or no chat template where the question needs it.
    """
    if isinstance(calibration, Path):
        calibration = Calibration.read(calibration)
    if calibration is not None:
        pose = Pose(calibration.prompt, calibration.system)
    plain = pose.shots is not None
    prompt = pose.prompt(tokenizer, question, passage)
    model.eval()
    (written,) = answer_greedily(
        model,
        tokenizer,
        [text_ids(tokenizer, prompt, special_tokens=plain)],
        stops=(STOP,) if plain else (),
        limit=NEW_TOKENS if plain else CHAT_TOKENS,
        ends=() if plain else turn_end_ids(tokenizer)[-1:],
    )
    confidence = confidence_of(written.logprobs) if written.text else None
    if calibration is None:
        return Answer(written.text, confidence, False)
    state: Tensor | None = None
    if calibration.probe is not None and confidence is not None:
        answer = f" {written.text}" if plain else written.text
        sequences = encode_answers(tokenizer, prompt, [answer], _LONGEST, special_tokens=plain)
        state = answer_states(model, sequences, [calibration.probe.layer]).answer[0, 0]
    return Answer(written.text, confidence, calibration.declines(confidence, keep, state))
