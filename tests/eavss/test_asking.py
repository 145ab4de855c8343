"""One question to a tiny model: how sure it is, against the full softmax, and when it declines."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from eavss.asking import CHAT_TOKENS, FEW_SHOT, NEW_TOKENS, SHOTS, Pose, ask
from eavss.confidence import KINDS, Calibration, Kind, Probe
from eavss.errors import EavssError
from tests.toys import EOS, VOCABULARY, naive_logprobs, tiny_model, tiny_tokenizer

QUESTION = "which number follows 3?"
TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}<assistant>"
CALIBRATION = Calibration(
    by="summed",
    auroc=0.75,
    ece=0.1,
    thresholds={"60": -1e9, "80": -1e9, "90": -1e9},
    curve=[],
    asked=2,
    right=1,
    prompt=FEW_SHOT,
    dataset="nq",
    aurocs={},
)


def writing(text: str) -> PreTrainedModel:
    """Likes to write the characters of `text`, each of which it has once, in turn; how much depends on the prompt."""
    model, ids = tiny_model("llama"), tiny_tokenizer()(text)["input_ids"]
    following = torch.full((VOCABULARY,), ids[0])
    following[ids] = torch.tensor([*ids[1:], ids[0]])

    def prefer(_module: object, _args: object, inputs: dict[str, torch.Tensor], output: CausalLMOutput) -> None:
        assert output.logits is not None
        before = inputs["input_ids"][:, -output.logits.shape[1] :]
        output.logits += 6 * F.one_hot(following[before], VOCABULARY)

    model.register_forward_hook(prefer, with_kwargs=True)
    return model


def prompts_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the list that the prompts of later questions go to."""
    prompts: list[str] = []

    def keep(_module: object, _args: object, inputs: dict[str, torch.Tensor]) -> None:
        if inputs["input_ids"].shape[1] > 1:
            prompts.append(str(tokenizer.decode(inputs["input_ids"][0])))

    model.register_forward_pre_hook(keep, with_kwargs=True)
    return prompts


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """It has a chat template, and puts a special token before plain text."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    special = [(EOS, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{EOS} $A", special_tokens=special)
    return tokenizer


def test_the_confidence_is_the_full_softmaxs() -> None:
    """The space before the answer is a token of it, and the end of the line is none."""
    model, tokenizer = writing(" it\n"), tiny_tokenizer()
    prompt = tokenizer(f"{FEW_SHOT}Question: {QUESTION}\nAnswer:")["input_ids"]
    answer = ask(model, tokenizer, QUESTION)
    assert answer.text == "it"
    ids = [*prompt, *tokenizer(" it")["input_ids"]]
    expected = naive_logprobs(model, ids, len(prompt), len(ids)).tolist()
    assert -9 < min(expected) < -0.001
    assert answer.confidence is not None
    assert answer.confidence._asdict() == pytest.approx(
        {
            "summed": sum(expected),
            "per_token": sum(expected) / 3,
            "first_token": expected[0],
            "least_token": min(expected),
        },
        abs=1e-4,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_below_the_threshold_is_declined(kind: Kind) -> None:
    model, tokenizer = writing(" it\n"), tiny_tokenizer()
    sure = ask(model, tokenizer, QUESTION).confidence
    for keep, above in ((60, 1e-3), (80, -1e-3), (90, -1.0)):
        thresholds = CALIBRATION.thresholds | {str(keep): getattr(sure, kind) + above}
        calibration = replace(CALIBRATION, by=kind, thresholds=thresholds)
        assert ask(model, tokenizer, QUESTION, calibration, keep) == ("it", sure, above > 0)
    assert not ask(model, tokenizer, QUESTION).declined


def test_an_empty_answer_has_no_confidence() -> None:
    model, tokenizer = writing("\nab"), tiny_tokenizer()
    assert ask(model, tokenizer, QUESTION) == ("", None, False)
    assert ask(model, tokenizer, QUESTION, CALIBRATION) == ("", None, True)


def test_the_question_is_posed_as_the_calibration_says() -> None:
    model, tokenizer = writing(" it\n"), chat_tokenizer()
    prompts = prompts_of(model, tokenizer)
    for calibration in (None, replace(CALIBRATION, prompt="Shots.\n\n"), replace(CALIBRATION, prompt=None)):
        ask(model, tokenizer, QUESTION, calibration)
    for calibration in (None, replace(CALIBRATION, prompt=None)):
        ask(model, tokenizer, QUESTION, calibration, passage="It is tin.\n")
    for calibration in (None, replace(CALIBRATION, prompt=None, system="Hm.")):
        ask(model, tokenizer, QUESTION, calibration, pose=Pose("Shots.\n\n", "Be brief."))
    ask(model, tokenizer, QUESTION, pose=Pose(None))
    assert prompts == [
        f"{EOS}{FEW_SHOT}Question: {QUESTION}\nAnswer:",
        f"{EOS}Shots.\n\nQuestion: {QUESTION}\nAnswer:",
        f"<user>{QUESTION}\n<assistant>",
        f"{EOS}{FEW_SHOT}It is tin.\nQuestion: {QUESTION}\nAnswer:",
        f"<user>It is tin.\n\n{QUESTION}\n<assistant>",
        f"{EOS}Be brief.\n\nShots.\n\nQuestion: {QUESTION}\nAnswer:",
        f"<system>Hm.\n<user>{QUESTION}\n<assistant>",
        f"<user>{QUESTION}\n<assistant>",
    ]
    assert all(f"Question: {question}\nAnswer: {answer}\n\n" in FEW_SHOT for question, answer in SHOTS)


@pytest.mark.parametrize(
    ("text", "plain", "chat"),
    [
        ("abcd", "abcd" * (NEW_TOKENS // 4), "abcd" * (CHAT_TOKENS // 4)),
        (f" a\nb{EOS}", "a", "a\nb"),
    ],
)
def test_where_an_answer_ends(text: str, plain: str, chat: str) -> None:
    model, tokenizer = writing(text), chat_tokenizer()
    assert ask(model, tokenizer, QUESTION, CALIBRATION).text == plain
    assert ask(model, tokenizer, QUESTION, replace(CALIBRATION, prompt=None)).text == chat


def test_neither_training_nor_the_settings_of_the_models_folder_have_a_part() -> None:
    model, tokenizer = writing("abcd"), tiny_tokenizer()
    expected = ask(model, tokenizer, QUESTION)
    model.generation_config.no_repeat_ngram_size = 1
    assert ask(model.train(), tokenizer, QUESTION) == expected
    assert not model.training
    assert model.generation_config.no_repeat_ngram_size == 1


def test_a_calibration_is_read_from_its_file_or_folder(tmp_path: Path) -> None:
    model, tokenizer = writing(" it\n"), tiny_tokenizer()
    calibration = replace(CALIBRATION, prompt="Shots.\n\n", thresholds=CALIBRATION.thresholds | {"80": 0.0})
    (tmp_path / "confidence.json").write_text(json.dumps(asdict(calibration)))
    expected = ask(model, tokenizer, QUESTION, calibration)
    assert expected.declined
    for place in (tmp_path, tmp_path / "confidence.json"):
        assert ask(model, tokenizer, QUESTION, place) == expected


def test_mistakes_are_named(tmp_path: Path) -> None:
    model, tokenizer = writing(" it\n"), tiny_tokenizer()
    with pytest.raises(EavssError, match="no file"):
        ask(model, tokenizer, QUESTION, tmp_path)
    with pytest.raises(EavssError, match="keep: 70 should be one of 60, 80, 90"):
        ask(model, tokenizer, QUESTION, CALIBRATION, 70)


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_a_probe_reads_the_state_of_the_answer(style: str) -> None:
    """The threshold lies just above or below what the probe makes of the mean state of " it" or "it" at its block."""
    model, tokenizer = writing(" it\n" if style == "plain" else "it" + EOS), chat_tokenizer()
    shots = "Shots.\n\n" if style == "plain" else None
    prompt = f"{EOS}Shots.\n\nQuestion: {QUESTION}\nAnswer:" if shots else f"<user>{QUESTION}\n<assistant>"
    answer = ask(model, tokenizer, QUESTION, replace(CALIBRATION, prompt=shots))
    said = f" {answer.text}" if shots else answer.text
    ids = tokenizer(prompt + said, add_special_tokens=False)["input_ids"]
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[3][
            0, start:
        ]  # after block 2
    weights = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0)).tolist()
    assert answer.confidence is not None
    expected = float(states.mean(0) @ torch.tensor(weights)) + 0.5 * answer.confidence.summed
    probe = Probe(2, weights, [0.5, 0.0, 0.0, 0.0], 0.0)
    for above in (1e-3, -1e-3):
        calibration = replace(CALIBRATION, by="probe", probe=probe, prompt=shots, thresholds={"80": expected + above})
        assert ask(model, tokenizer, QUESTION, calibration).declined == (above > 0)
