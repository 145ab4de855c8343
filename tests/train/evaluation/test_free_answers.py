"""Greedy answers, against a loop that picks one token at a time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from data import nq, triviaqa
from data.examples import Example, wrong_answers
from data.judge import judge
from eavss.answer_states import answer_states
from eavss.asking import ASK_TO_DECLINE, FEW_SHOT
from tests.toys import EOS, naive_logprobs, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation import free_answers
from train.evaluation.free_answers import OWN_RULE, FreeAnswer, FreeAnswers, asking_encoder, rule_of
from train.model.kept_tensors import KeptTensors

EXAMPLES = [Example("nq", f"which number follows {'the number ' * (i % 3)}{i * i}", ("one",)) for i in range(10)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))


@cache
def ending_model() -> PreTrainedModel:
    """A random model that likes to end a line; it also writes the end-of-sequence now and then."""
    model = tiny_model("llama")
    with torch.no_grad():
        weight = model.get_output_embeddings().weight
        weight[257:] = 0  # these are no token of the tokenizer
        weight[tiny_tokenizer()("\n")["input_ids"]] *= 3
    return model


def padded_tokenizer() -> PreTrainedTokenizerFast:
    """As `train.model.tokenizer.load_tokenizer` leaves it, with a chat template."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"
    return tokenizer


def free(style: str, token_budget: int, model: PreTrainedModel | None = None) -> FreeAnswers:
    return FreeAnswers(model or ending_model(), Encoder(padded_tokenizer(), style, 256), token_budget)


@torch.no_grad()
def step_by_step(model: PreTrainedModel, prompt: str, stops: Sequence[str], limit: int) -> tuple[str, str]:
    """The likeliest token, again and again, without a cache; the text up to the first stop, and what ended it."""
    tokenizer = padded_tokenizer()
    ids, written = tokenizer(prompt)["input_ids"], []
    for _ in range(limit):
        token = int(model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            return tokenizer.decode(written), "end-of-sequence"
        written.append(token)
        text = tokenizer.decode(written)
        if any(stop in text for stop in stops):
            return text[: min(text.index(stop) for stop in stops if stop in text)], "stop"
    return text, "limit"


STYLES = {
    "plain": ("Question: {}\nAnswer:", ("\n",), 32),
    "harness": ("Answer these questions:\n\nQ: {}?\nA:", ("\n", ".", ","), 256),
}


def test_answers_equal_a_loop_of_single_steps() -> None:
    """Alone or in batches under left padding; answers end in every way."""
    ends = set()
    for style, (prompt, stops, limit) in STYLES.items():
        expected = [step_by_step(ending_model(), prompt.format(e.question), stops, limit) for e in EXAMPLES]
        assert len(dict(expected)) > len(EXAMPLES) // 2
        ends |= {end for _, end in expected}
        for budget in (1, 300, 100_000):
            found = free(style, budget)(EXAMPLES, "")
            assert [answer.text for answer in found] == [text.strip() for text, _ in expected]
            assert all((answer.confidence is None) == (answer.text == "") for answer in found)
    assert ends == {"end-of-sequence", "stop", "limit"}


def always(text: str) -> PreTrainedModel:
    """Writes the characters of `text`, each of which it has once, in turn, over and over, whatever the prompt."""
    model, ids = tiny_model("llama"), padded_tokenizer()(text)["input_ids"]
    following = dict(zip(ids, [*ids[1:], ids[0]], strict=True))

    def write(_module: object, _args: object, inputs: dict[str, torch.Tensor], output: CausalLMOutput) -> None:
        for row, token in enumerate(inputs["input_ids"][:, -1].tolist()):
            output.logits[row, -1, following.get(token, ids[0])] = 1e4

    model.register_forward_hook(write, with_kwargs=True)
    return model


@pytest.mark.parametrize(
    ("style", "text", "answer"),
    [
        ("plain", "abcd", "abcd" * 8),  # 32 tokens at most
        ("harness", "abcd", "abcd" * 64),  # 256
        ("plain", " ab.c,\n", "ab.c,"),  # a line, without the space around it
        ("harness", " ab.c,\n", "ab"),  # as far as the first stop string
        ("harness", " ab,c.\n", "ab"),
        ("plain", "\nab", ""),
        ("plain", f"ab {EOS}", "ab"),
        ("chat", "ab\ncd", "ab\ncd" * 12 + "ab\nc"),  # 64 tokens, whatever the lines
        ("chat", f"ab\ncd{EOS}", "ab\ncd"),
    ],
)
def test_where_an_answer_ends(style: str, text: str, answer: str) -> None:
    found = free(style, 10_000, always(text))(EXAMPLES[:2], "")
    assert [each.text for each in found] == [answer, answer]


def test_the_confidence_is_that_of_the_answers_own_tokens() -> None:
    """Against the full softmax of the answer alone; what ends the answer, and what follows, does not count."""
    model = ending_model()
    for example, answer in zip(EXAMPLES, free("plain", 10_000)(EXAMPLES, ""), strict=True):
        if answer.confidence is None:
            continue
        prompt = free("plain", 1).encoder.prompt_ids(example)
        written, _ = step_by_step(model, f"Question: {example.question}\nAnswer:", ("\n",), 32)
        ids = [*prompt, *padded_tokenizer()(written.rstrip())["input_ids"]]
        expected = naive_logprobs(model, ids, len(prompt), len(ids))
        if len(expected) == len(written.rstrip().encode()) and "\ufffd" not in written:
            assert answer.confidence.summed == pytest.approx(float(expected.sum()), abs=1e-3)
            assert answer.confidence.first_token == pytest.approx(float(expected[0]), abs=1e-3)


def test_a_plain_question_is_asked_after_five_of_our_own() -> None:
    asking = asking_encoder(free("plain", 1).encoder)
    assert asking.prompt(EXAMPLES[0]) == f"{FEW_SHOT}Question: {EXAMPLES[0].question}\nAnswer:"
    shots = [Example("nq", "who", ("x",))]
    own = asking_encoder(replace(free("plain", 1).encoder, shots={"nq": shots}))
    assert own.prompt(EXAMPLES[0]).count("Question: ") == 2
    harness = free("harness", 1).encoder
    assert asking_encoder(harness).prompt(EXAMPLES[0]) == harness.prompt(EXAMPLES[0])


def test_own_questions_with_right_answers_alone_are_asked_freely() -> None:
    answers_alone = Example("own.jsonl", "Who?", ("I",), wrong_answers(["he"], "similar"))
    assert rule_of(answers_alone) is OWN_RULE
    assert rule_of(replace(answers_alone, wrong_answers=wrong_answers(["he"], "dataset"))) is None
    assert rule_of(Example("nq", "Who?", ("I",))) is nq.SET.free_answers
    assert rule_of(Example("wikiqa", "Who?", ("I",))) is None


def test_each_set_has_its_own_prompt_and_stop_strings() -> None:
    assert nq.SET.free_answers.stops == triviaqa.SET.free_answers.stops == ("\n", ".", ",")
    encoder = free("harness", 1).encoder
    example = Example("triviaqa", "Which river?", ("Nile",))
    assert encoder.tokenizer.decode(encoder.prompt_ids(example)) == "Question: Which river??\nAnswer:"


def test_a_long_prompt_loses_its_start() -> None:
    example = Example("nq", "long " * 100, ("x",))
    encoder = Encoder(padded_tokenizer(), "plain", 32)
    assert encoder.tokenizer.decode(encoder.prompt_ids(example)) == f"Question: {'long ' * 100}\nAnswer:"[-32:]
    (answer,) = FreeAnswers(ending_model(), encoder, 64)([example], "")
    assert isinstance(answer.text, str)


def test_no_question_has_no_answer() -> None:
    assert free("plain", 64)([], "") == []


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_the_model_is_asked_to_decline(style: str) -> None:
    encoder = asking_encoder(Encoder(padded_tokenizer(), style, 4096), ask_to_decline=True)
    prompt, usual = encoder.prompt(EXAMPLES[0]), asking_encoder(Encoder(padded_tokenizer(), style, 4096))
    assert prompt.startswith(ASK_TO_DECLINE)
    assert prompt.count(EXAMPLES[0].question) == 1
    assert prompt.count("\nAnswer: I don't know\n") == (2 if style == "plain" else 0)
    assert ASK_TO_DECLINE not in usual.prompt(EXAMPLES[0])
    assert judge("I don't know", ["one"]) == "declined"


def test_the_same_model_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other weights, another prompt or other settings of the model's folder are asked again."""
    asked: list[int] = []
    answer = FreeAnswers._answer

    def counted(self: FreeAnswers, prompts: list[list[int]], *settings: object) -> object:
        asked.append(len(prompts))
        return answer(self, prompts, *settings)

    monkeypatch.setattr(FreeAnswers, "_answer", counted)
    first = free("plain", 512)(EXAMPLES, "")
    assert free("plain", 512)(EXAMPLES, "") == first
    assert sum(asked) == len(EXAMPLES)
    free("plain", 512)(EXAMPLES[1:], "")
    other = tiny_model("llama")
    assert free("plain", 512, other)(EXAMPLES, "") != first
    assert sum(asked) == 3 * len(EXAMPLES) - 1
    other.generation_config.repetition_penalty = 1.3
    free("harness", 512, other)(EXAMPLES, "")
    other.generation_config.repetition_penalty = 2.0
    free("harness", 512, other)(EXAMPLES, "")
    assert sum(asked) == 5 * len(EXAMPLES) - 1


def test_states_of_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same answers at the same blocks; another answer is read anew."""
    asker = replace(free("plain", 512), kept_states=KeptTensors(1e6))
    answers = [FreeAnswer(text, None) for text in ("one", "", "twenty one")]
    first = asker.states(EXAMPLES[:3], answers, [0, 2])
    monkeypatch.setattr(free_answers, "answer_states", None)  # so that reading anew fails
    again = asker.states(EXAMPLES[:3], answers, [0, 2])
    assert again[1] is None
    assert first[1] is None
    for before, after in ((first[0], again[0]), (first[2], again[2])):
        assert before is not None
        assert after is not None
        assert all(torch.equal(before[layer], after[layer]) for layer in (0, 2))
    assert asker.kept.used == ["what the blocks hold on the answers"]
    for changed in ([FreeAnswer("two", None), *answers[1:]], [*answers[:2], FreeAnswer("", None)]):
        with pytest.raises(TypeError):
            asker.states(EXAMPLES[:3], changed, [0, 2])
    with pytest.raises(TypeError):
        replace(asker, kept_states=KeptTensors(0)).states(EXAMPLES[:3], answers, [0, 2])


def test_states_of_answers_are_those_of_their_encoding() -> None:
    asker = free("plain", 512)
    answers = [FreeAnswer(text, None) for text in ("one", "", "twenty one")]
    found = asker.states(EXAMPLES[:3], answers, [0, 2])
    assert found[1] is None
    for number in (0, 2):
        (sequence,) = asker.encoder(EXAMPLES[number], [answers[number].text])
        alone = answer_states(ending_model(), [sequence], [0, 2]).answer[0]
        read = found[number]
        assert read is not None
        torch.testing.assert_close(torch.stack([read[0], read[2]]), alone, atol=1e-4, rtol=1e-4)
