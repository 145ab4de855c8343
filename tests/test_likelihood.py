"""Log-probabilities of answers against the full softmax."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from data.examples import Example
from eavss.batches import encode, pad
from tests.toys import EXAMPLES, KINDS, naive_logprobs, tiny_model, tiny_tokenizer, toy_scorer
from train.encoding import Encoder
from train.likelihood import AnswerScorer, token_logprobs
from train.shared_prompts import can_share


@pytest.mark.parametrize("kind", KINDS)
def test_token_logprobs_equal_the_full_softmax_under_padding(kind: str) -> None:
    model, tokenizer = tiny_model(kind), tiny_tokenizer()
    sequences = [encode(tokenizer, "one two three", " four"), encode(tokenizer, "a", " much longer answer than that")]
    batch = pad(sequences, pad_id=7)
    with torch.no_grad():
        found = token_logprobs(
            model, model.get_output_embeddings(), batch.input_ids, batch.attention_mask, batch.answer_mask
        )
        for row, s in zip(found, sequences, strict=True):
            expected = naive_logprobs(model, s.ids, s.answer_start, s.answer_end)
            torch.testing.assert_close(row[s.answer_start : s.answer_end].double(), expected, atol=1e-5, rtol=1e-5)
            assert row[: s.answer_start].eq(0).all()
            assert row[s.answer_end :].eq(0).all()


def test_the_head_sees_answer_positions_only_and_its_hook_is_gone_afterwards() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    batch = pad([encode(tokenizer, "a long prompt of many words", " answer")])
    head, seen = model.get_output_embeddings(), []
    handle = head.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[1]))
    token_logprobs(model, head, batch.input_ids, batch.attention_mask, batch.answer_mask)
    handle.remove()
    assert seen == [int(batch.answer_mask.sum())]
    assert not head._forward_pre_hooks


def test_scores_do_not_depend_on_the_batch() -> None:
    answers = [(example, answer) for example in EXAMPLES for answer in example.truthful]
    together, alone = (toy_scorer(token_budget=budget).score(answers, "") for budget in (10_000, 1))
    assert [score.total for score in together] == pytest.approx([score.total for score in alone], abs=1e-4)
    assert together[0].per_token == pytest.approx(together[0].total / together[0].tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_sharing_prompts_changes_nothing(kind: str) -> None:
    """Prompts of different lengths and with a long common beginning, answers of different lengths, in small groups."""
    encoder = Encoder(tiny_tokenizer(), "plain", 128)
    answers = [(example, answer) for example in EXAMPLES for answer in (*example.truthful, *example.hallucinated)]
    answers += [(Example("toy", "a longer question than the others?", ("x",)), text) for text in ("x", "a long answer")]
    for budget in (60, 10_000):
        shared, alone = (
            AnswerScorer(tiny_model(kind), encoder, budget, share_prompts=share).score(answers, "")
            for share in (True, False)
        )
        assert [s.total for s in shared] == pytest.approx([s.total for s in alone], abs=1e-4)
        assert [s.tokens for s in shared] == [s.tokens for s in alone]


def test_a_prompt_is_read_once() -> None:
    """Six prompts of 32 tokens or more, three answers each: the tokens computed are those of prompts and answers."""
    scorer, tokens = toy_scorer(token_budget=10_000), []
    scorer.model.get_input_embeddings().register_forward_hook(lambda _m, args, _o: tokens.append(args[0].numel()))
    answers = [(example, answer) for example in EXAMPLES for answer in (*example.truthful, *example.hallucinated)]
    scorer.score(answers, "")
    sequences = [scorer.encoder(*answer) for answer in answers]
    naive = sum(len(sequence) for sequence in sequences)
    assert sum(tokens) < naive / 2


def test_models_with_sliding_windows_do_not_share() -> None:
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        sliding_window=8,
    )
    model = MistralForCausalLM(config)
    assert not can_share(model)
    assert can_share(tiny_model("llama"))
