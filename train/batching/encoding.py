"""Encode questions and answers in the recipe's prompt style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from data.examples import Example
from data.sets import SETS
from eavss.asking import answered_questions, chat_question, plain_prompt
from eavss.batches import TokenSequence
from eavss.chat import Turn, render, turn_end, turn_end_ids
from eavss.encoding import TokenisedText, encode_answers, encode_as_one, join, text_ids
from train.runtime.errors import ModelError


@dataclass(frozen=True)
class Encoder:
    """Turns an example and its answers into `TokenSequence`s.

    Args:
        tokenizer: the model's.
        prompt_style: `plain`, "Question: ...\nAnswer:" and " " + answer; `chat`, the tokenizer's template with the
            question as the user's message; or `harness`, each set's prompt in lm-evaluation-harness. The earlier turns
            of a conversation stand before its question in the same style. Verbatim examples are joined as they stand
            in any style.
        max_length: see `eavss.batches.join`.
        shots: for the plain style, examples by set that are shown with their answers before the question.
        common_shots: the examples that are shown for sets without shots of their own.
        instruction: what stands before everything in the plain style, and before the question in the chat style.
        passages: show the passage that comes with a question before it, in these two styles.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_style: str
    max_length: int
    shots: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    common_shots: Sequence[Example] = ()
    instruction: str = ""
    passages: bool = False

    def __post_init__(self) -> None:
        if self.prompt_style == "chat" and not self.tokenizer.chat_template:
            raise ModelError("prompt_style: the tokenizer has no chat template; use 'plain'")

    def __call__(self, example: Example, answers: Sequence[str], end: bool = False) -> list[TokenSequence]:
        """Encode answers that are compared with each other, so that they follow equal tokens.

        Args:
            end: add what ends an answer: the end-of-sequence token, or what ends a turn in the chat template.
        """
        if example.verbatim:
            return encode_answers(self.tokenizer, example.question, answers, self.max_length, end)
        if self.prompt_style == "chat":
            return self._chat(example, answers, end)
        prompt, after = self.prompt(example), [f" {answer}" for answer in answers]
        if self.prompt_style == "harness":
            return [self.after_text(prompt, answer) for answer in after]
        return encode_answers(self.tokenizer, prompt, after, self.max_length, end)

    def _chat(self, example: Example, answers: Sequence[str], end: bool) -> list[TokenSequence]:
        """Divide whole conversations, as the template writes them, into prompt, answer and end."""
        messages = self._messages(example)
        turns = (render(self.tokenizer, [*messages, ("assistant", answer)]) for answer in answers)
        texts = [self.prompt(example), *(turn.removesuffix(self._turn_end) for turn in turns)]
        prompt, *wholes = (TokenisedText(text, text_ids(self.tokenizer, text, special_tokens=False)) for text in texts)
        ending = self.end_ids if end else ()
        return join(prompt, wholes, end=ending, max_length=self.max_length, bos=self.tokenizer.bos_token_id)

    @cached_property
    def _turn_end(self) -> str:
        return turn_end(self.tokenizer)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer: what ends a turn in the chat template, or the end-of-sequence token."""
        eos = self.tokenizer.eos_token_id
        if self.prompt_style == "chat":
            return turn_end_ids(self.tokenizer)
        return () if eos is None else (int(eos),)

    def prompt(self, example: Example) -> str:
        """Return the text that an answer to `example` follows."""
        if example.verbatim:
            return example.question
        if self.prompt_style == "harness" and example.dataset in SETS:
            return SETS[example.dataset].harness_prompt(example)
        if self.prompt_style == "chat":
            return render(self.tokenizer, self._messages(example), add_generation_prompt=True)
        system = "".join(f"{text}\n\n" for text in (example.system, self.instruction) if text)
        known = self.shots.get(example.dataset, self.common_shots)
        shown = [shot for shot in known if shot.question != example.question]
        shots = answered_questions([*((shot.question, shot.truthful[0]) for shot in shown), *example.history])
        return f"{system}{shots}{plain_prompt(example.question, self._passage(example))}"

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the prompt's tokens for generating an answer, cut at the start to leave room for one."""
        special = self.prompt_style != "chat" or example.verbatim
        return text_ids(self.tokenizer, self.prompt(example), special)[-self.max_length :]

    def after_text(self, prompt: str, answer: str) -> TokenSequence:
        """Encode `answer` after any text, tokenised as in lm-evaluation-harness."""
        return encode_as_one(self.tokenizer, prompt, answer, self.max_length)

    def _messages(self, example: Example) -> list[Turn]:
        earlier = [("system", example.system)] if example.system else []
        for said, answered in example.history:
            earlier += [("user", said), ("assistant", answered)]
        # Not every template has a system message.
        question = chat_question(example.question, self._passage(example))
        return [*earlier, ("user", f"{self.instruction}\n\n{question}" if self.instruction else question)]

    def _passage(self, example: Example) -> str:
        return example.support if self.passages else ""
