"""Encode questions and answers in the recipe's prompt style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from data.examples import Example
from data.sets import SETS
from eavss.batches import TokenSequence, encode, encode_as_one
from train.runtime.errors import ModelError


@dataclass(frozen=True)
class Encoder:
    """Turns (example, answer) into a `TokenSequence`.

    Args:
        tokenizer: the model's.
        prompt_style: `plain`, "Question: ...\nAnswer:" and " " + answer; `chat`, the tokenizer's template with the
            question as the user's message; or `harness`, each set's prompt in lm-evaluation-harness. Verbatim examples
            are joined as they stand in any style.
        max_length: see `eavss.batches.encode`.
        shots: for the plain style, examples by set that are shown with their answers before the question.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_style: str
    max_length: int
    shots: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prompt_style == "chat" and not self.tokenizer.chat_template:
            raise ModelError("prompt_style: the tokenizer has no chat template; use 'plain'")

    def __call__(self, example: Example, answer: str, end: bool = False) -> TokenSequence:
        if example.verbatim:
            return encode(self.tokenizer, example.question, answer, self.max_length, end)
        prompt = self.prompt(example)
        if self.prompt_style == "chat":
            return encode(self.tokenizer, prompt, answer, self.max_length, end, special_tokens=False)
        if self.prompt_style == "harness":
            return self.after_text(prompt, f" {answer}")
        return encode(self.tokenizer, prompt, f" {answer}", self.max_length, end)

    def prompt(self, example: Example) -> str:
        """Return the text that an answer to `example` follows."""
        if example.verbatim:
            return example.question
        if self.prompt_style == "harness" and example.dataset in SETS:
            return SETS[example.dataset].harness_prompt(example)
        if self.prompt_style == "chat":
            message = [{"role": "user", "content": example.question}]
            return str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        shown = [shot for shot in self.shots.get(example.dataset, ()) if shot.question != example.question]
        shots = "".join(f"Question: {shot.question}\nAnswer: {shot.truthful[0]}\n\n" for shot in shown)
        return f"{shots}Question: {example.question}\nAnswer:"

    def prompt_ids(self, example: Example) -> list[int]:
        """Return the prompt's tokens for generating an answer, cut at the start to leave room for one."""
        special = self.prompt_style != "chat" or example.verbatim
        ids: list[int] = self.tokenizer(self.prompt(example), add_special_tokens=special)["input_ids"]
        return ids[-self.max_length :]

    def after_text(self, prompt: str, answer: str) -> TokenSequence:
        """Encode `answer` after any text, tokenised as in lm-evaluation-harness."""
        return encode_as_one(self.tokenizer, prompt, answer, self.max_length)
