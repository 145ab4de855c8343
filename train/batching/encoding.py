"""Encode questions and answers in the recipe's prompt style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from data.examples import Example
from data.sets import SETS
from eavss.asking import answered_questions, chat_question, plain_prompt
from eavss.batches import TokenSequence
from eavss.chat import Turn, answer_opening, render, turn_end, turn_end_ids
from eavss.encoding import TokenisedText, encode_answers, encode_as_one, join, text_ids
from train.runtime.errors import ModelError


class PromptKeys(Protocol):
    """What a recipe says of prompts, in its keys."""

    @property
    def prompt_style(self) -> str:
        """How a question is posed."""

    @property
    def system_prompt(self) -> str | None:
        """The system message of questions that bring none."""

    @property
    def max_length(self) -> int:
        """Tokens of prompt and answer."""

    @property
    def passages(self) -> bool:
        """Whether the passage that comes with a question is shown."""


def style_for(prompt_style: str, has_template: bool) -> str:
    """Return the prompt style that `auto` stands for, with a chat template or without; another one as it is."""
    if prompt_style != "auto":
        return prompt_style
    return "chat" if has_template else "plain"


@dataclass(frozen=True)
class Encoder:
    """Turns an example and its answers into `TokenSequence`s.

    Args:
        tokenizer: the model's.
        prompt_style: `plain`, "Question: ...\nAnswer:" and " " + answer; `chat`, the tokenizer's template with the
            question as the user's message; `harness`, each set's prompt in lm-evaluation-harness; or `auto`, which
            becomes `chat` where the tokenizer has a template and `plain` where it has none. The earlier turns of a
            conversation stand before its question in the same style. Verbatim examples are joined as they stand in any
            style.
        max_length: see `eavss.batches.join`.
        shots: examples by set that are shown with their answers before the question, in the chat style as turns.
        common_shots: the examples that the plain style shows for sets without shots of their own.
        instruction: what stands before everything in the plain style, and before the question in the chat style.
        passages: show the passage that comes with a question before it, in these two styles.
        system: the system message in these two styles, where the example brings none.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_style: str
    max_length: int
    shots: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    common_shots: Sequence[Example] = ()
    instruction: str = ""
    passages: bool = False
    system: str = ""

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        keys: PromptKeys,
        shots: Mapping[str, Sequence[Example]] | None = None,
    ) -> "Encoder":
        """Make the encoder that a recipe's keys ask for; see above for `shots`."""
        return cls(
            tokenizer,
            keys.prompt_style,
            keys.max_length,
            shots or {},
            passages=keys.passages,
            system=keys.system_prompt or "",
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt_style", style_for(self.prompt_style, bool(self.tokenizer.chat_template)))
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
        asked = self.prompt(example)
        texts = [asked]
        for answer in answers:
            turn = render(self.tokenizer, [*messages, ("assistant", answer)]).removesuffix(self._turn_end)
            # A template that drops thoughts from past turns does not write the prompt that a model answers.
            texts.append(turn if turn.startswith(asked) else f"{asked}{answer}")
        prompt, *wholes = (TokenisedText(text, text_ids(self.tokenizer, text, special_tokens=False)) for text in texts)
        ending = self.end_ids if end else ()
        return join(prompt, wholes, end=ending, max_length=self.max_length, bos=self.tokenizer.bos_token_id)

    @cached_property
    def _opening(self) -> str:
        return answer_opening(self.tokenizer)

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
            return render(self.tokenizer, self._messages(example), add_generation_prompt=True) + self._opening
        system = "".join(f"{text}\n\n" for text in (example.system or self.system, self.instruction) if text)
        shots = answered_questions([*self._shown(example, self.common_shots), *example.history])
        return f"{system}{shots}{plain_prompt(example.question, self._passage(example))}"

    @property
    def described(self) -> str:
        """Say in words how a question is posed."""
        if self.prompt_style != "chat":
            return f"prompt_style {self.prompt_style}"
        begun = render(self.tokenizer, [("user", "?")], add_generation_prompt=True).rpartition("?")[2] + self._opening
        return f"the tokenizer's chat template; an answer follows {begun!r}"

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the prompt's tokens for generating an answer, cut at the start to leave room for one."""
        special = self.prompt_style != "chat" or example.verbatim
        return text_ids(self.tokenizer, self.prompt(example), special)[-self.max_length :]

    def after_text(self, prompt: str, answer: str) -> TokenSequence:
        """Encode `answer` after any text, tokenised as in lm-evaluation-harness."""
        return encode_as_one(self.tokenizer, prompt, answer, self.max_length)

    def _messages(self, example: Example) -> list[Turn]:
        earlier = [("system", text)] if (text := example.system or self.system) else []
        for said, answered in (*self._shown(example), *example.history):
            earlier += [("user", said), ("assistant", answered)]
        # Not every template has a system message.
        question = chat_question(example.question, self._passage(example))
        return [*earlier, ("user", f"{self.instruction}\n\n{question}" if self.instruction else question)]

    def _shown(self, example: Example, common: Sequence[Example] = ()) -> list[tuple[str, str]]:
        """Return the questions and answers that stand before `example`; a question is never its own example."""
        known = self.shots.get(example.dataset, common)
        return [(shot.question, shot.truthful[0]) for shot in known if shot.question != example.question]

    def _passage(self, example: Example) -> str:
        return example.support if self.passages else ""
