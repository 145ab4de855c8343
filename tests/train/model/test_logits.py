"""Logits at chosen positions, and log-probabilities without a float32 copy of them all."""

import pytest
import torch
from torch.nn import functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from tests.toys import count_hooks
from train.model.logits import logits_at, target_logprobs


def test_logits_are_the_models_own_at_these_positions(model: PreTrainedModel) -> None:
    ids = torch.arange(30).view(3, 10)
    rows, columns = torch.tensor([0, 2, 2]), torch.tensor([9, 0, 5])
    found = logits_at(model, model, {"input_ids": ids}, rows, columns)
    torch.testing.assert_close(found, model(input_ids=ids).logits[rows, columns])


def test_what_a_model_does_to_its_logits_is_kept() -> None:
    """Gemma 2 caps them at 30 by a tanh after the head."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Gemma2Config(vocab_size=50, head_dim=16, num_key_value_heads=1, initializer_range=2.0, **sizes)
    model = Gemma2ForCausalLM(config).eval()
    ids = torch.arange(8).view(1, 8)
    rows, columns = torch.tensor([0, 0]), torch.tensor([3, 7])
    found = logits_at(model, model, {"input_ids": ids}, rows, columns)
    torch.testing.assert_close(found, model(input_ids=ids).logits[rows, columns])
    assert found.abs().max() > 29


def test_the_head_sees_these_positions_only_and_the_hooks_are_gone_afterwards(model: PreTrainedModel) -> None:
    hooks, seen = count_hooks(model), []
    handle = model.get_output_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[:2]))
    logits_at(model, model, {"input_ids": torch.arange(30).view(3, 10)}, torch.tensor([0, 1]), torch.tensor([4, 4]))
    handle.remove()
    assert seen == [(1, 2)]
    with pytest.raises(IndexError):
        logits_at(model, model, {"input_ids": torch.arange(4).view(1, 4)}, torch.tensor([9]), torch.tensor([0]))
    assert count_hooks(model) == hooks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_judge_equals_log_softmax_and_its_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(21, 50, generator=generator)).to(dtype)
    targets = torch.randint(50, (21,), generator=generator)
    targets[4] = logits[4].argmax()
    weights = torch.randn(21, generator=generator)
    ours, naive = (logits.clone().requires_grad_() for _ in range(2))
    logprobs, likeliest = target_logprobs(ours, targets)
    expected = F.log_softmax(naive.float(), -1).gather(1, targets.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(logprobs, expected)
    assert likeliest.tolist() == (logits.argmax(1) == targets).tolist()
    (logprobs * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, naive.grad)
    assert ours.grad is not None
    assert ours.grad.dtype is dtype


def test_the_gradient_at_a_likely_target_is_exact() -> None:
    """In bfloat16 1 - p of a p near 1 would be off by a fifth if p were rounded first."""
    logits = torch.zeros(1, 50, dtype=torch.bfloat16)
    logits[0, 7] = 8.5
    leaf = logits.clone().requires_grad_()
    target_logprobs(leaf, torch.tensor([7]))[0].sum().backward()
    assert leaf.grad is not None
    expected = 1 - torch.softmax(logits.double(), 1)[0, 7]
    torch.testing.assert_close(leaf.grad[0, 7].double(), expected, rtol=2**-8, atol=0.0)


def test_an_unlikely_target_keeps_its_logprob() -> None:
    """Its probability underflows in float32."""
    logits = torch.tensor([[0.0, -200.0, 1.0]], requires_grad=True)
    logprobs, _ = target_logprobs(logits, torch.tensor([1]))
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, 1)[:, 1])
