"""Scores from gradients, against plain autograd on a tiny model."""

import pytest
import torch
from torch import Tensor

from eavss.blocks import find_blocks
from eavss.gradients import (
    GradientProfile,
    answer_loss,
    gradient_profile_batch,
    systematic_squares,
)
from eavss.profile import PairedBatch
from scripts.families.configs import tiny
from tests.toys import BLOCKS, EXAMPLES, KINDS, count_hooks, naive_logprobs, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches


def one_batch() -> PairedBatch:
    """Six questions with two truthful answers and one hallucinated one each."""
    (batch,) = paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, 10_000, 0)
    return batch


def naive_gradients(kind: str, paired: PairedBatch, question: int) -> list[dict[str, Tensor]]:
    """By block and linear layer, of log p(truthful) - log p(hallucinated), from one sequence after the other."""
    model = tiny_model(kind)
    blocks = find_blocks(model)
    total: Tensor = torch.zeros(())
    for hallucinated in (False, True):
        rows = ((paired.question == question) & (paired.hallucinated == hallucinated)).nonzero().flatten().tolist()
        for row in rows:
            places = paired.batch.answer_mask[row].nonzero().flatten().tolist()
            ids = paired.batch.input_ids[row][: int(paired.batch.attention_mask[row].sum())].tolist()
            logprob = naive_logprobs(model, ids, places[0], places[-1] + 1).sum() / len(rows)
            total = total - logprob if hallucinated else total + logprob
    total.backward()  # type: ignore[no-untyped-call]
    return [
        {name: module.weight.grad for name, module in blocks.linear_modules(layer).items()}  # type: ignore[misc]
        for layer in range(BLOCKS)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_sketches_keep_the_inner_products_of_the_gradients(kind: str) -> None:
    """Over all matrices, to within a few percent of the gradients' own squares."""
    paired = one_batch()
    found = gradient_profile_batch(tiny_model(kind), paired)
    first, second = (naive_gradients(kind, paired, question) for question in (0, 3))
    assert len(found.matrices) == sum(len(block) for block in first)
    whole, sketched = 0.0, 0.0
    for number, matrix in enumerate(found.matrices):
        whole += float((first[matrix.layer][matrix.name] * second[matrix.layer][matrix.name]).sum())
        sketched += float(found.differences[0, number] @ found.differences[3, number])
    own = sum(float(g.square().sum()) for block in first for g in block.values())
    assert sketched == pytest.approx(whole, abs=0.06 * own)
    assert float(found.differences[0].square().sum()) == pytest.approx(own, rel=0.06)


def test_the_norm_is_that_of_the_mean_gradient() -> None:
    """Every question twice: what is systematic is then the mean of all, with each pair of twins counted."""
    paired = one_batch()
    found = gradient_profile_batch(tiny_model("llama"), paired)
    norms = found.block_norms(torch.ones(1, 6))[0]
    gradients = [naive_gradients("llama", paired, question) for question in range(6)]
    for layer in range(BLOCKS):
        flat = torch.stack([torch.cat([g.flatten() for g in each[layer].values()]) for each in gradients])
        products = flat @ flat.T
        expected = float((products.sum() - products.trace()) / 30)
        assert float(norms[layer]) == pytest.approx(max(0.0, expected) ** 0.5, rel=0.05)


def test_what_each_question_adds_by_itself_does_not_count() -> None:
    """d = (1, 0), (0, 2), (1, 1): products of pairs 0, 1 and 2, whose mean is 1; of the first two alone, 0."""
    differences = torch.tensor([[1.0, 0], [0, 2], [1, 1]])
    weights = torch.tensor([[1.0, 1, 1], [1, 1, 0], [2, 0, 1]])
    # Drawn twice, the first question makes no pair with itself: two pairs of product 1, of (9 - 5) / 2 = 2.
    assert systematic_squares(differences, weights).tolist() == pytest.approx([1, 0, 1])


def test_halves_of_the_questions_are_merged() -> None:
    whole = gradient_profile_batch(tiny_model("llama"), one_batch())
    parts = paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, 200, 0)
    assert len(parts) > 1
    merged = GradientProfile.merge([gradient_profile_batch(tiny_model("llama"), part) for part in parts])
    first, second = (each.block_norms(torch.ones(1, 6)) for each in (whole, merged))
    assert torch.allclose(first, second, rtol=1e-3)


def test_frozen_weights_and_leftovers_do_not_matter() -> None:
    """As after a trial: the base is frozen, and nothing is left in it."""
    model = tiny_model("llama")
    expected = gradient_profile_batch(model, one_batch()).differences
    model.requires_grad_(False)
    assert torch.equal(gradient_profile_batch(model, one_batch()).differences, expected)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert count_hooks(model) == 0


@torch.no_grad()
def test_the_loss_counts_answers_only() -> None:
    model, paired = tiny_model("llama"), one_batch()
    expected = 0.0
    for row in range(len(paired.batch.input_ids)):
        places = paired.batch.answer_mask[row].nonzero().flatten().tolist()
        ids = paired.batch.input_ids[row][: int(paired.batch.attention_mask[row].sum())].tolist()
        expected -= float(naive_logprobs(model, ids, places[0], places[-1] + 1).sum())
    assert float(answer_loss(model, paired.batch)) == pytest.approx(expected, rel=1e-4)


def test_tokens_in_one_row_are_told_apart() -> None:
    """As OPT's MLP has them."""
    plain = tiny_model("llama")
    expected = gradient_profile_batch(plain, one_batch()).differences
    for block in find_blocks(plain).modules:
        mlp, forward = block.mlp, block.mlp.forward
        mlp.forward = lambda states, forward=forward: forward(states.flatten(0, 1)).view_as(states)
    found = gradient_profile_batch(plain, one_batch()).differences
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_experts_that_see_some_tokens_are_left_out() -> None:
    found = gradient_profile_batch(tiny("Qwen 3 MoE, mixed"), one_batch())
    assert {matrix.part for matrix in found.matrices} >= {"self_attn"}
    assert found.differences.isfinite().all()
