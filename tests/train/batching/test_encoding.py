"""Examples become tokens in the recipe's prompt style: those of TRL, or of lm-evaluation-harness."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from data import preferences
from data.examples import Example
from data.sources import DataSource
from eavss.asking import Pose
from eavss.errors import EavssError
from tests.tokenizers import TOKENIZER_KINDS, trained_tokenizer
from tests.toys import EXAMPLES, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.evaluation.likelihood import AnswerScorer
from train.recipe.settings import EvaluationSettings
from train.runtime.errors import ModelError

SCIQ = Example("sciq", "What is the capital of France?", ("Paris",))


def small_model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A random llama with the tokenizer's vocabulary."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.2, **sizes)).float().eval()


def test_plain() -> None:
    tokenizer = tiny_tokenizer()
    (plain,) = Encoder(tokenizer, "plain", 128)(EXAMPLES[0], ["yes"], end=True)
    assert tokenizer.decode(plain.ids[: plain.answer_start]) == "Question: which number follows 0?\nAnswer:"
    assert tokenizer.decode(plain.ids[plain.answer_start : plain.answer_end]) == " yes"
    assert plain.ids[plain.answer_end :] == (tokenizer.eos_token_id,)


def test_verbatim_is_joined_as_it_stands() -> None:
    tokenizer = tiny_tokenizer()
    (verbatim,) = Encoder(tokenizer, "plain", 128)(Example("own", "Say: ", ("x",), verbatim=True), ["x"])
    assert tokenizer.decode(verbatim.ids) == "Say: x"


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="no chat template"):
        Encoder(tiny_tokenizer(), "chat", 128)


USER = "{% for m in messages %}<{{ m.role }}>{{ m.content }}"


@pytest.mark.parametrize(
    ("after_turn", "end"),
    [
        ("<eos>", "<eos>"),
        ("<eos>\n", "<eos>"),
        (" <eos>\n", " <eos>"),
        ("<turn>\n", "<turn>"),
        ("<turn><eos>", "<turn>"),
        ("##", "##"),
        ("\n", "<eos>"),
        ("", "<eos>"),
    ],
)
def test_an_answer_ends_as_the_template_ends_its_turns(after_turn: str, end: str) -> None:
    """With its first special token, whether that is the end-of-sequence or not; white space ends nothing."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    ending = after_turn.replace("\n", "\\n")
    tokenizer.chat_template = (
        f"{USER}{{{{ '{ending}' }}}}{{% endfor %}}{{% if add_generation_prompt %}}<assistant>{{% endif %}}"
    )
    encoder = Encoder(tokenizer, "chat", 256)
    (chat,) = encoder(EXAMPLES[0], ["yes"], end=True)
    assert tokenizer.decode(chat.prompt).endswith("<assistant>")
    assert tokenizer.decode(chat.answer) == "yes"
    assert tokenizer.decode(chat.ids[chat.answer_end :]) == end
    (open_ended,) = encoder(EXAMPLES[0], ["yes"])
    assert open_ended.ids == chat.ids[: chat.answer_end]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('System role not supported') }}", r"\(user\): System role not supported; use 'plain'"),
        ("{{ nothing.at_all }}", "cannot write the messages"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "does not show the assistant's answer"),
    ],
)
def test_a_template_that_fails_is_one_line(template: str, message: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(EavssError, match=message) as caught:
        Encoder(tokenizer, "chat", 128)(EXAMPLES[0], ["yes"])
    assert "\n" not in str(caught.value)


_TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}"
# As Qwen3, DeepSeek-R1 and GPT-OSS write the beginning of an answer: with a switch, with a thought that is dropped from
# past turns, and in a channel that the generation prompt leaves open.
_SWITCH = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_ALWAYS = f"{_TURNS}{{% if add_generation_prompt %}}<assistant><think>\n{{% endif %}}"
_CHANNEL = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' %}<final>{% endif %}{{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "before"),
    [
        (f"{_TURNS}{{% if add_generation_prompt %}}<assistant>{{% endif %}}", ""),
        (_SWITCH, "<think>\n\n</think>\n\n"),
        (_ALWAYS, "<think>\n\n</think>\n\n"),
        (_CHANNEL, "<final>"),
    ],
    ids=["plain", "switch", "always", "channel"],
)
def test_no_template_thinks_aloud(template: str, before: str) -> None:
    """Scoring, training, free answers and `ask` see the same prompt, and an answer is its words alone."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    encoder = Encoder(tokenizer, "chat", 256)
    yes, no = encoder(EXAMPLES[0], ["yes", "no"], end=True)
    prompt = f"<user>{EXAMPLES[0].question}<eos><assistant>{before}"
    assert encoder.prompt(EXAMPLES[0]) == tokenizer.decode(yes.prompt) == tokenizer.decode(no.prompt) == prompt
    assert Pose(None).prompt(tokenizer, EXAMPLES[0].question, "") == prompt
    assert (tokenizer.decode(yes.answer), tokenizer.decode(no.answer)) == ("yes", "no")
    assert tokenizer.decode(yes.ids[yes.answer_end :]) == "<eos>"
    assert encoder.described.endswith(repr(f"<eos><assistant>{before}"))


def test_auto_takes_the_template_that_there_is() -> None:
    without, having = tiny_tokenizer(), trained_tokenizer("bytes")
    assert (Encoder(without, "auto", 128).prompt_style, Encoder(having, "auto", 128).prompt_style) == ("plain", "chat")
    assert replace(Encoder(having, "auto", 128), passages=True).prompt_style == "chat"


def test_a_recipes_keys_make_the_encoder() -> None:
    keys = EvaluationSettings((), DataSource("samples"), prompt_style="plain", system_prompt="Hm.", passages=True)
    made = Encoder.of(tokenizer := tiny_tokenizer(), keys, {"own": EXAMPLES})
    assert made == Encoder(tokenizer, "plain", 512, {"own": EXAMPLES}, passages=True, system="Hm.")
    assert Encoder.of(tokenizer, replace(keys, system_prompt=None)).system == ""


def test_answered_questions_are_turns_of_a_chat() -> None:
    asked, shot = Example("own", "Who?", ("x",)), Example("own", "What?", ("tin", "iron"))
    encoder = Encoder(trained_tokenizer("bytes"), "chat", 128, {"own": [asked, shot]}, common_shots=[shot])
    expected = "user: What?<|end|>\nassistant: tin<|end|>\nuser: Who?<|end|>\nassistant: "
    assert encoder.prompt(asked) == expected
    assert encoder.prompt(replace(asked, dataset="nq")) == "user: Who?<|end|>\nassistant: "


def test_a_system_message_stands_before_the_question() -> None:
    example = Example("own", "Who?", ("x",), system="Be brief.")
    tokenizer = trained_tokenizer("bytes")
    for style in ("plain", "chat"):
        unsaid = Encoder(tokenizer, style, 128, system="Be brief.")(replace(example, system=""), ["x"])
        said = Encoder(tokenizer, style, 128, system="Be long.")(example, ["x"])
        assert said == unsaid == Encoder(tokenizer, style, 128)(example, ["x"])
    assert Encoder(tokenizer, "plain", 128).prompt(example) == "Be brief.\n\nQuestion: Who?\nAnswer:"
    chat = "system: Be brief.<|end|>\nuser: Who?<|end|>\nassistant: "
    assert Encoder(tokenizer, "chat", 128).prompt(example) == chat


def test_earlier_turns_stand_before_the_question() -> None:
    """In the plain style after the questions that are shown; only the last answer is the answer."""
    tokenizer = trained_tokenizer("bytes")
    example = Example("own", "Who?", ("x",), system="Be brief.", history=(("Is it?", "Yes."), ("Was it?", "No.")))
    shots = [Example("own", "What?", ("that",))]
    plain = (
        "Be brief.\n\nQuestion: What?\nAnswer: that\n\n"
        "Question: Is it?\nAnswer: Yes.\n\nQuestion: Was it?\nAnswer: No.\n\nQuestion: Who?\nAnswer:"
    )
    assert Encoder(tokenizer, "plain", 256, common_shots=shots).prompt(example) == plain
    chat = Encoder(tokenizer, "chat", 256, instruction="Say it.")
    assert chat.prompt(example) == (
        "system: Be brief.<|end|>\nuser: Is it?<|end|>\nassistant: Yes.<|end|>\nuser: Was it?<|end|>\n"
        "assistant: No.<|end|>\nuser: Say it.\n\nWho?<|end|>\nassistant: "
    )
    (sequence,) = chat(example, ["x"], end=True)
    assert tokenizer.decode(sequence.answer) == "x"
    assert tokenizer.decode(sequence.ids[sequence.answer_end :]) == "<|end|>"


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


PLAIN_ROWS: list[dict[str, Any]] = [
    {"prompt": "Question: What is the capital of France?\nAnswer:", "chosen": " Paris", "rejected": " Emma"},
    {"prompt": "Say it: ", "chosen": "it is", "rejected": "12345"},
    {"prompt": "They said (", "chosen": "yes)", "rejected": ") no"},
]
CHAT_ROWS: list[dict[str, Any]] = [
    {
        "prompt": turn("user", "Who wrote it?"),
        "chosen": turn("assistant", " Jane "),
        "rejected": turn("assistant", "I"),
    },
    {
        "prompt": turn("system", "Be brief.") + turn("user", "how many? "),
        "chosen": turn("assistant", "2 million"),
        "rejected": turn("assistant", ": 2"),
    },
    {
        "prompt": [
            *(
                *turn("system", "Be brief."),
                *turn("user", "Who wrote it?"),
                *turn("assistant", "Jane Austen wrote it."),
            ),
            *(*turn("user", "Is it?"), *turn("assistant", "Yes, it is!"), *turn("user", "how many?")),
        ],
        "chosen": turn("assistant", "one"),
        "rejected": turn("assistant", "two, they say"),
    },
]


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize(("style", "rows"), [("plain", PLAIN_ROWS), ("chat", CHAT_ROWS)])
def test_pairs_are_trls(kind: str, style: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Prompt and answers have the tokens that TRL's DPOTrainer gives them, up to the end of the turn."""
    tokenizer = trained_tokenizer(kind)
    config = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_length=None)
    theirs = DPOTrainer(
        small_model(tokenizer),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM"),  # so that no second model is loaded as the reference
    ).train_dataset
    ours = make_pairs(preferences.examples(rows, "own"), Encoder(tokenizer, style, 512), 1, False, seed=0)
    assert len(ours) == len(rows)
    for pair, row in zip(ours, theirs, strict=True):
        assert list(pair.chosen.prompt) == row["prompt_ids"]
        for sequence, completion in ((pair.chosen, row["chosen_ids"]), (pair.rejected, row["rejected_ids"])):
            # The line break that a template may write after the end of a turn is not learnt.
            ours_after_prompt = list(sequence.ids[sequence.answer_start :])
            assert ours_after_prompt == completion[: len(ours_after_prompt)]
            assert str(tokenizer.decode(completion[len(ours_after_prompt) :])).strip() == ""


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize("answer", ["Paris", "Jane Austen", "1234567", "(it is)"])
def test_scores_under_harness_prompts_are_the_harness_own(kind: str, answer: str) -> None:
    tokenizer = trained_tokenizer(kind)
    model = small_model(tokenizer)
    scorer = AnswerScorer(model, Encoder(tokenizer, "harness", 512), 512)
    request = (scorer.encoder.prompt(SCIQ), f" {answer}")
    peer = HFLM(pretrained=model, tokenizer=tokenizer, max_length=512)
    ((theirs, greedy),) = peer.loglikelihood(
        [Instance(request_type="loglikelihood", doc={}, arguments=request, idx=0)], disable_tqdm=True
    )
    (ours,) = scorer.score_sequences(scorer.encoder(SCIQ, [answer]), "")
    assert ours.total == pytest.approx(theirs, abs=1e-4)
    assert ours.greedy == greedy


def test_a_prompt_for_generation_is_not_ended() -> None:
    """A tokenizer that ends every text would otherwise make the model answer after an end-of-sequence."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    ids = Encoder(tokenizer, "plain", 128).prompt_ids(EXAMPLES[0])
    assert tokenizer.decode(ids) == "Question: which number follows 0?\nAnswer:"
    assert tiny_model("llama").config.vocab_size > max(ids)


@pytest.mark.parametrize(
    ("style", "prompt"),
    [
        ("plain", "It is tin.\nQuestion: What is it?\nAnswer:"),
        ("chat", "<user>It is tin.\n\nWhat is it?</s><assistant>"),
    ],
)
def test_a_passage_stands_before_its_question_where_it_is_shown(style: str, prompt: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    example = Example("sciq", "What is it?", ("tin",), support=" It is tin.\n")
    shown, closed = (Encoder(tokenizer, style, 256, passages=passages) for passages in (True, False))
    assert shown.prompt(example) == prompt
    assert closed.prompt(example) == shown.prompt(replace(example, support="")) != prompt
