"""Answers written together, in rounds and after a common beginning, are those that each prompt gets alone."""

import math
from collections import Counter

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from eavss.answering import answer_greedily, sample_answers
from eavss.prompt_cache import can_share
from tests.toys import KINDS, tiny_model, tiny_tokenizer

BEGINNING = [7, 9, 30, 31, 80, 90, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111]
PROMPTS = [[*BEGINNING, 40], [*BEGINNING, 50, 51, 52, 53], [8, 9], [*BEGINNING, 60, 61, 62]]
LIMIT = 20


def alone(model: PreTrainedModel, prompt: list[int]) -> tuple[list[int], list[float]]:
    """Return the likeliest tokens after a prompt and their log-probabilities, without any cache."""
    ids, logprobs = list(prompt), []
    ends = {model.generation_config.eos_token_id, tiny_tokenizer().eos_token_id}
    while len(logprobs) < LIMIT and ids[-1] not in ends:
        with torch.no_grad():
            values = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float().log_softmax(-1)
        ids.append(int(values.argmax()))
        logprobs.append(float(values.max()))
    return ids[len(prompt) :], logprobs


def windowed() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    return MistralForCausalLM(MistralConfig(vocab_size=300, sliding_window=8, **sizes)).eval()


@pytest.mark.parametrize("prompts", [PROMPTS, [PROMPTS[i] for i in (0, 1, 3)]], ids=["own", "common"])
@pytest.mark.parametrize("kind", [*KINDS, "windowed"])
def test_greedy_answers_and_their_likelihood(kind: str, prompts: list[list[int]]) -> None:
    model, tokenizer = windowed() if kind == "windowed" else tiny_model(kind), tiny_tokenizer()
    assert can_share(model) == (kind != "windowed")
    expected = [alone(model, prompt) for prompt in prompts]
    # A token that some answers have early, others late or never, so that they end in different rounds.
    counts = Counter(token for tokens, _ in expected for token in dict.fromkeys(tokens))
    (end, _) = min(counts.items(), key=lambda item: (abs(item[1] - 1), item[0]))
    written = answer_greedily(model, tokenizer, prompts, stops=(), limit=LIMIT, ends=())
    for (text, logprobs), (tokens, values) in zip(written, expected, strict=True):
        assert text == tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert logprobs == pytest.approx(values[: len(logprobs)], abs=1e-4)
    stop = tokenizer.decode([end])
    stopped = answer_greedily(model, tokenizer, prompts, stops=(stop,), limit=LIMIT)
    assert [text for text, _ in stopped] == [text.split(stop)[0].strip() for text, _ in written]


@pytest.mark.parametrize("kind", ["llama", "windowed"])
def test_samples_follow_the_models_own_distribution(kind: str) -> None:
    model, tokenizer = windowed() if kind == "windowed" else tiny_model(kind), tiny_tokenizer()
    model.lm_head.weight.data.mul_(20)
    prompts = PROMPTS[:2]
    torch.manual_seed(0)
    sampled = sample_answers(model, tokenizer, prompts, stops=(), limit=1, count=400)
    assert [len(answers) for answers in sampled] == [400, 400]
    for prompt, answers in zip(prompts, sampled, strict=True):
        with torch.no_grad():
            shares = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        texts = [tokenizer.decode([token], skip_special_tokens=True).strip() for token in range(len(shares))]
        counts = Counter(answers)
        for text in [texts[int(token)] for token in shares.topk(3).indices]:
            share = float(sum(shares[token] for token, other in enumerate(texts) if other == text))
            assert abs(counts[text] / 400 - share) < 5 * math.sqrt(share * (1 - share) / 400) + 1e-9
