"""Mine hallucinated answers: the model answers training questions, and its wrong answers are trained against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from eavss.asking import answered_questions, plain_prompt
from eavss.encoding import text_ids
from eavss.generation import ending_ids, padded_left, plain_generation
from train.model.written_store import reuse_or_write
from train.runtime.distributed import map_sharded
from train.runtime.seeding import random_stream

_BATCH = 16
_NEW_TOKENS = 16
_SHOTS = 4
_SHOT_CHARACTERS = 40


@dataclass(frozen=True)
class AnswerWriter:
    """Lets a model write one greedy answer and some sampled ones to each question, and keeps them on disk.

    The prompt shows four questions with their answers, so that the model answers in the set's style and stops at the
    end of the line. Without them an instruction-tuned model writes sentences, whose length alone gives them away.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer.
        shots: examples to show, such as the training questions.
        answers: how many answers to write to a question, the greedy one included.
        seed: the seed of the sampled answers, which are drawn at temperature 1.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    shots: Sequence[Example]
    answers: int
    seed: int

    def __call__(self, examples: Sequence[Example]) -> list[list[str]]:
        """Return the answers written to each example, without those that did not end within 16 tokens."""
        prompts = [self._prompt(example) for example in examples]
        batches = [(start, prompts[start : start + _BATCH]) for start in range(0, len(prompts), _BATCH)]
        settings = [self.answers, self.seed, _BATCH, _NEW_TOKENS, prompts]
        written = reuse_or_write(
            "answers", self.model, settings, lambda: map_sharded(self._write, batches, "mining answers")
        )
        return [answers for batch in written for answers in batch]

    def _prompt(self, example: Example) -> str:
        # A conversation's last question alone shows nothing.
        short = [shot for shot in self.shots if len(shot.truthful[0]) <= _SHOT_CHARACTERS and not shot.history]
        shown = [shot for shot in short if shot.question != example.question][:_SHOTS]
        shots = answered_questions([*((shot.question, shot.truthful[0]) for shot in shown), *example.history])
        return f"{shots}{plain_prompt(example.question)}"

    def _write(self, batch: tuple[int, list[str]]) -> list[list[str]]:
        start, prompts = batch
        self.model.eval()
        pad_id = self.tokenizer.pad_token_id or 0
        encoded = padded_left([text_ids(self.tokenizer, prompt) for prompt in prompts], pad_id, self.model.device)
        common = {"max_new_tokens": _NEW_TOKENS, "min_new_tokens": 1, "pad_token_id": pad_id}
        sampled = {"do_sample": True, "temperature": 1.0, "top_k": 0, "num_return_sequences": self.answers - 1}
        # Seeded by batch, so that the answers do not depend on how many ranks share the batches.
        with random_stream(self.seed * 1_000_003 + start), plain_generation(self.model), torch.no_grad():
            greedy = self.model.generate(**encoded, do_sample=False, **common)  # type: ignore[operator] # (torch's __getattr__)
            rows = [[text] for text in self._texts(greedy, encoded["input_ids"].shape[1])]
            if self.answers > 1:
                more = self.model.generate(**encoded, **sampled, **common)  # type: ignore[operator]
                for number, text in enumerate(self._texts(more, encoded["input_ids"].shape[1])):
                    rows[number // (self.answers - 1)].append(text)
        return [[text for text in row if text] for row in rows]

    def _texts(self, generated: torch.Tensor, prompt_length: int) -> list[str]:
        """Return the first line of each answer, or "" where there is none or the answer does not end."""
        texts, ends = [], torch.tensor(ending_ids(self.model, self.tokenizer), device=generated.device)
        for ids in generated[:, prompt_length:]:
            ended = bool(torch.isin(ids, ends).any())
            line, newline, _ = str(self.tokenizer.decode(ids, skip_special_tokens=True)).lstrip(" ").partition("\n")
            texts.append(line.strip().rstrip(".") if newline or ended else "")
        return texts
