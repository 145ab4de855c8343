"""Log-probabilities of answers against the full softmax."""

import pytest
import torch

from eavss.batches import encode, pad
from tests.toys import EXAMPLES, KINDS, naive_logprobs, tiny_model, tiny_tokenizer, toy_scorer
from train.likelihood import token_logprobs


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
