"""Several answers after one prompt in one row, against each sequence alone."""

from collections.abc import Sequence

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from eavss.batches import TokenSequence
from tests.toys import KINDS, naive_logprobs, tiny_model
from train.batching.packing import Packer, can_pack
from train.batching.pieces import Group, row_length
from train.model.logits import logits_at, target_logprobs


def sequence(prompt: int, answer: int, shift: int = 0, end: bool = True) -> TokenSequence:
    """So many tokens of each, told apart by `shift`; the same prompt for the same length."""
    ids = (*range(1, prompt + 1), *range(100 + shift, 100 + shift + answer), *([256] if end else []))
    return TokenSequence(ids, prompt, prompt + answer)


GROUPS = [
    [sequence(5, 3), sequence(5, 6, 20), sequence(5, 2, 40, end=False)],
    [sequence(9, 4)],
    [sequence(2, 1), sequence(2, 2, 7)],
]
SEQUENCES = [each for group in GROUPS for each in group]


# Four questions after the same 20 tokens, one of them with two answers, and one question that begins otherwise.
BEGUN = [
    [TokenSequence((*range(30, 50), *range(60, 60 + own), 100 + own + n, 7, 256), 20 + own, 22 + own) for n in answers]
    for own, answers in ((3, (0, 9)), (1, (0,)), (6, (0,)), (2, (0,)))
] + [[sequence(9, 4)]]


def logprobs(
    model: PreTrainedModel, packer: Packer, groups: Sequence[Group] = GROUPS
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Of each sequence, its tokens' log-probabilities, and all sequences' sums."""
    batch = packer(groups)
    values, _ = target_logprobs(logits_at(model, model, batch.inputs, batch.rows, batch.columns), batch.targets)
    return [values[batch.sequence == number] for number in range(batch.count)], batch.answer_sums(values)


@pytest.mark.parametrize("attention", ["sdpa", "eager", None])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_packed_sequences_equal_each_alone(kind: str, attention: str | None) -> None:
    model = tiny_model(kind)
    model.set_attn_implementation(attention or "sdpa")
    found, sums = logprobs(model, Packer.of(model, attention is not None))
    for each, s, total in zip(found, SEQUENCES, sums, strict=True):
        expected = naive_logprobs(model, s.ids, s.answer_start, len(s))
        torch.testing.assert_close(each.double(), expected, atol=2e-5, rtol=1e-5)
        assert total.item() == pytest.approx(expected[: len(s.answer)].sum().item(), abs=1e-4)


def test_gradients_are_those_of_each_alone() -> None:
    model = tiny_model("llama")
    gradients = []
    for packer in (Packer.of(model), Packer.of(model, enabled=False)):
        model.zero_grad()
        found, _ = logprobs(model, packer)
        torch.cat([each * (1 + number) for number, each in enumerate(found)]).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_preamble_is_read_once_and_changes_no_figure(kind: str, attention: str) -> None:
    model = tiny_model(kind)
    model.set_attn_implementation(attention)
    sequences = [each for group in BEGUN for each in group]
    packer = Packer.of(model, sequences=sequences)
    assert packer.preamble == tuple(range(30, 50))
    ids = packer(BEGUN).inputs["input_ids"]
    assert (ids == 49).sum() == len(packer.rows(BEGUN)) == 1
    found, _ = logprobs(model, packer, BEGUN)
    for each, s in zip(found, sequences, strict=True):
        expected = naive_logprobs(model, s.ids, s.answer_start, len(s))
        torch.testing.assert_close(each.double(), expected, atol=2e-5, rtol=1e-5)


def test_gradients_reach_the_preamble() -> None:
    model = tiny_model("llama")
    sequences = [each for group in BEGUN for each in group]
    gradients = []
    for packer in (Packer.of(model, sequences=sequences), Packer.of(model, enabled=False)):
        model.zero_grad()
        found, _ = logprobs(model, packer, BEGUN)
        torch.cat([each * (1 + number) for number, each in enumerate(found)]).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=2e-4, rtol=1e-3)


def test_layout() -> None:
    """Two answers, of 1 and 2 tokens with their ends, after a prompt of 2; in the same row a group of 4."""
    groups = [[sequence(2, 1), sequence(2, 2, 7)], [sequence(1, 2, 50)]]
    batch = Packer(torch.float32, "sdpa")(groups)
    assert batch.inputs["input_ids"].tolist() == [[1, 2, 100, 256, 107, 108, 256, 1, 150, 151, 256]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 2, 3, 4, 0, 1, 2, 3]]
    assert batch.answer_of.tolist() == [[-1, -1, 0, -1, 1, 1, -1, -1, 2, 2, -1]]
    assert batch.columns.tolist() == [1, 2, 1, 4, 5, 7, 8, 9]
    assert batch.targets.tolist() == [100, 256, 107, 108, 256, 150, 151, 256]
    assert batch.in_answer.tolist() == [True, False, True, True, False, True, True, False]
    mask = batch.inputs["attention_mask"][0, 0].int().tolist()
    assert mask[3] == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert mask[5] == [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert mask[8] == [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]


def test_padding_sees_something() -> None:
    """A token that sees none would turn its whole row into NaN."""
    batch = Packer(torch.float32, "sdpa")(GROUPS)
    assert (batch.inputs["input_ids"] == 0).any()
    assert batch.inputs["attention_mask"].any(-1).all()


def test_means_are_over_answers_alone() -> None:
    batch = Packer(torch.float32, "sdpa")(GROUPS)
    states = torch.randn(*batch.answer_of.shape, 3)
    means = batch.answer_means(states)
    for number in range(batch.count):
        torch.testing.assert_close(means[number], states[batch.answer_of == number].mean(0))


def test_unscored_sequences_are_read_but_not_predicted() -> None:
    batch = Packer(torch.float32, "sdpa")(GROUPS, unscored={1, 3})
    assert set(batch.sequence.tolist()) == {0, 2, 4, 5}
    assert set(batch.answer_of.flatten().tolist()) == {-1, 0, 1, 2, 3, 4, 5}


def test_answers_whose_prompt_was_cut_do_not_share_it() -> None:
    cut = TokenSequence((2, 3, 100), 2, 3)
    whole = TokenSequence((1, 2, 3, 101), 3, 4)
    assert Packer(torch.float32, "sdpa").groups([[cut, whole]]) == [[cut], [whole]]


def test_a_group_over_the_limit_is_divided() -> None:
    packer = Packer(torch.float32, "sdpa")
    parts = packer.divide(GROUPS[0], 16)
    assert [row_length(part) for part in parts] == [16, 7]
    assert [each for part in parts for each in part] == GROUPS[0]
    assert [len(part) for part in Packer(torch.float32, None).divide(GROUPS[0], 100)] == [1, 1, 1]


def test_models_that_cannot_pack_stay_unpacked() -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2}
    windowed = MistralForCausalLM(MistralConfig(**sizes, sliding_window=8)).eval()
    assert not can_pack(windowed)
    assert not can_pack(BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2)))
    assert can_pack(tiny_model("llama"))
    assert Packer.of(windowed).attention is None
    with torch.no_grad():
        found, _ = logprobs(windowed, Packer.of(windowed))
    for each, s in zip(found, SEQUENCES, strict=True):
        expected = naive_logprobs(windowed, s.ids, s.answer_start, len(s)).detach()
        torch.testing.assert_close(each.double(), expected, atol=2e-5, rtol=1e-5)
