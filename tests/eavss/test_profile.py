"""A model's profile, against one forward pass a sequence."""

import random
from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from eavss import scores
from eavss.batches import TokenSequence, pad
from eavss.errors import EavssError
from eavss.moments import TokenMoments
from eavss.profile import LayerProfile, PairedBatch, profile_batch, profile_model
from scripts.families.configs import tiny
from tests.toys import BLOCK_PATHS, BLOCKS, HIDDEN, count_hooks, tiny_model


@dataclass(frozen=True)
class Question:
    truthful: list[TokenSequence]
    hallucinated: list[TokenSequence]


def make_questions(count: int) -> list[Question]:
    """Random questions: 3 to 9 prompt tokens, one to three answers of each kind, each of 1 to 5 tokens and an end."""
    draw = random.Random(0)

    def answers(prompt: list[int]) -> list[TokenSequence]:
        made = []
        for _ in range(draw.randint(1, 3)):
            answer = draw.choices(range(256), k=draw.randint(1, 5))
            made.append(TokenSequence((*prompt, *answer, 256), len(prompt), len(prompt) + len(answer)))
        return made

    prompts = [draw.choices(range(256), k=draw.randint(3, 9)) for _ in range(count)]
    return [Question(answers(prompt), answers(prompt)) for prompt in prompts]


QUESTIONS = make_questions(5)


def paired(questions: list[Question], pad_id: int = 256) -> PairedBatch:
    """One batch of some questions' answers, hallucinated ones first: their order is of no matter."""
    rows = [
        (sequence, number, hallucinated)
        for number, question in enumerate(questions)
        for hallucinated, sequences in ((True, question.hallucinated), (False, question.truthful))
        for sequence in sequences
    ]
    sequences, numbers, kinds = zip(*rows, strict=True)
    return PairedBatch(pad(list(sequences), pad_id), torch.tensor(numbers), torch.tensor(kinds))


def block_outputs(model: PreTrainedModel, path: str, sequence: TokenSequence) -> Tensor:
    """The first block's input, and what every block puts out, for one sequence without any padding: (1 + L, T, H)."""
    found: list[Tensor] = []

    def hook(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(hook) for block in model.get_submodule(path)]
    handles.append(model.get_submodule(path)[0].register_forward_pre_hook(lambda _module, args: found.append(args[0])))
    with torch.no_grad():
        model(input_ids=torch.tensor([sequence.ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(found).squeeze(1)


def add_moments(sums: dict[str, Tensor], hidden: Tensor) -> None:
    """Add one sequence's counted tokens (L, T, H) to the sums of each block (L,)."""
    x = hidden.double()
    rms = x.square().mean(-1, keepdim=True).sqrt()
    sums["sequences"] += 1
    sums["tokens"] += x.shape[1]
    sums["units"] += x[0].numel()
    sums["variance"] += x.mean(1).var(1)
    sums["squares"] += x.square().sum((1, 2))
    sums["near_zero"] += (x.abs() < 1e-5).sum((1, 2))
    sums["near_zero_relative"] += (x.abs() < 0.1 * rms).sum((1, 2))


def no_moments() -> dict[str, Tensor]:
    return {field.name: torch.zeros(BLOCKS).double() for field in fields(TokenMoments)}


def naive_profile(model: PreTrainedModel, path: str, questions: list[Question]) -> LayerProfile:
    states, every, hallucinated = [], no_moments(), no_moments()
    distances = torch.zeros(BLOCKS).double()
    for question in questions:
        kinds = []
        for wrong, sequences in ((False, question.truthful), (True, question.hallucinated)):
            means = []
            for sequence in sequences:
                stream = block_outputs(model, path, sequence)  # (1 + L, T, H)
                distances += (1 - F.cosine_similarity(stream[1:].double(), stream[:-1].double(), dim=-1)).sum(1)
                outputs = stream[1:]
                answer = outputs[:, sequence.answer_start : sequence.answer_end]
                means.append(answer.mean(1))
                add_moments(every, outputs)
                if wrong:
                    add_moments(hallucinated, answer)
            kinds.append(torch.stack(means).mean(0))  # (L, H)
        states.append(torch.stack(kinds))
    pairs = sum(len(question.truthful) * len(question.hallucinated) for question in questions)
    return LayerProfile(torch.stack(states), TokenMoments(**every), TokenMoments(**hallucinated), pairs, distances)


def assert_same(profile: LayerProfile, expected: LayerProfile) -> None:
    assert profile.states.shape == expected.states.shape
    torch.testing.assert_close(profile.states, expected.states, rtol=1e-5, atol=1e-5)
    assert profile.pairs == expected.pairs
    torch.testing.assert_close(profile.cosine_distance_sums, expected.cosine_distance_sums, rtol=1e-4, atol=1e-5)
    for part in ("all_tokens", "hallucinated_tokens"):
        for field in fields(TokenMoments):
            found = getattr(getattr(profile, part), field.name)
            wanted = getattr(getattr(expected, part), field.name)
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=lambda m, f=field: f"{f.name}: {m}")


def test_profile_equals_one_forward_pass_a_sequence(model_kind: str, model: PreTrainedModel) -> None:
    profile = profile_model(model, [paired(QUESTIONS[:3]), paired(QUESTIONS[3:])])
    assert profile.states.shape == (5, 2, BLOCKS, HIDDEN)
    assert profile.states.dtype == torch.float32
    assert not profile.states.requires_grad
    assert profile.questions == 5
    assert_same(profile, naive_profile(model, BLOCK_PATHS[model_kind], QUESTIONS))


def test_toy_states_are_worth_comparing(model_kind: str, model: PreTrainedModel) -> None:
    """States of order 1, so that 1e-5 is a small error, and every question and block unlike the others."""
    profile = naive_profile(model, BLOCK_PATHS[model_kind], QUESTIONS)
    assert 0.05 < profile.states.std() < 20
    assert profile.differences.abs().amax((0, 2)).min() > 0.05


def test_batching_and_padding_do_not_matter(model: PreTrainedModel) -> None:
    whole = profile_model(model, [paired(QUESTIONS)])
    assert_same(profile_model(model, [paired([question]) for question in QUESTIONS]), whole)
    assert_same(profile_model(model, [paired(QUESTIONS, pad_id=7)]), whole)


def test_order_of_questions_is_kept() -> None:
    model = tiny_model("llama")
    forth = profile_model(model, [paired(QUESTIONS[:2]), paired(QUESTIONS[2:])])
    back = profile_model(model, [paired(QUESTIONS[::-1])])
    torch.testing.assert_close(back.states, forth.states.flip(0), rtol=1e-5, atol=1e-5)


def test_merge_of_parts_is_the_whole() -> None:
    model = tiny_model("gpt2")
    parts = [profile_batch(model, paired([question])) for question in QUESTIONS]
    whole = profile_model(model, [paired(QUESTIONS)])
    assert_same(LayerProfile.merge(parts), whole)
    assert_same(LayerProfile.merge([LayerProfile.merge(parts[:2]), LayerProfile.merge(parts[2:])]), whole)


def test_several_answers_are_averaged_within_their_question() -> None:
    """A question with the answers a, b and b again has (a + 2b) / 3, and is one question all the same."""
    model = tiny_model("llama")
    a, b = (TokenSequence((1, 2, 3, *answer), 3, 3 + len(answer)) for answer in ((4,), (5, 6, 7)))
    other = QUESTIONS[0]
    single_a, single_b = (profile_model(model, [paired([Question([x], [a]), other])]).states[0, 0] for x in (a, b))
    profile = profile_model(model, [paired([Question([a, b, b], [a]), other])])
    assert profile.questions == 2
    torch.testing.assert_close(profile.states[0, 0], (single_a + 2 * single_b) / 3, rtol=1e-5, atol=1e-5)


def test_pairs_are_counted() -> None:
    """2 * 1 and 1 * 3 pairs."""
    a, b = (TokenSequence((1, 2, answer), 2, 3) for answer in (4, 5))
    questions = [Question([a, b], [b]), Question([a], [b, b, b])]
    model = tiny_model("llama")
    assert profile_model(model, [paired(questions)]).pairs == 5
    assert profile_model(model, [paired(questions[:1]), paired(questions[1:])]).pairs == 5


def test_same_answers_make_no_difference() -> None:
    model = tiny_model("qwen2")
    same = [Question(question.truthful, question.truthful) for question in QUESTIONS]
    profile = profile_model(model, [paired(same)])
    assert profile.differences.abs().max() < 1e-5


def hand_made_profile() -> LayerProfile:
    """Two questions, two blocks, two units."""
    truthful = torch.tensor([[[0, 0], [5, 5]], [[0, 0], [5, 5]]]).float()  # (n, L, H)
    differences = torch.tensor([[[1, 1], [2, 1]], [[3, 1], [2, -1]]]).float()

    def moments(**sums: list[float]) -> TokenMoments:
        return TokenMoments(**{name: torch.tensor(values).double() for name, values in sums.items()})

    return LayerProfile(
        states=torch.stack([truthful, truthful + differences], dim=1),
        all_tokens=moments(
            sequences=[4, 4],
            tokens=[10, 10],
            units=[20, 20],
            variance=[8, 12],
            squares=[40, 60],
            near_zero=[4, 2],
            near_zero_relative=[10, 5],
        ),
        hallucinated_tokens=moments(
            sequences=[2, 2],
            tokens=[5, 5],
            units=[10, 10],
            variance=[2, 6],
            squares=[20, 30],
            near_zero=[1, 0],
            near_zero_relative=[5, 5],
        ),
        pairs=2,
        cosine_distance_sums=torch.tensor([1.0, 4.0]).double(),
    )


def test_differences_are_hallucinated_minus_truthful() -> None:
    assert hand_made_profile().differences.tolist() == [[[1, 1], [2, 1]], [[3, 1], [2, -1]]]


def test_layer_scores() -> None:
    """Block 0: AV 8 / 4 = 2, AS 4 / 20 = 0.2, AVSS 10; scale-free 2 / (40 / 20) / (10 / 20) = 2.
    Block 1: AV 3, AS 0.1, AVSS 30; scale-free 3 / 3 / 0.25 = 4. NAVSS 10 / 40 and 30 / 40.

    Differences of block 0: units (1, 3) with rho 0.6 and (1, 1) with rho 1: HSAV 0.8, HSS at its floor 1 / 2,
    EAVSS 1.6. Of block 1: (2, 2) with rho 1 and (1, -1) with rho -1: HSAV 0, HSS 1 / 2, EAVSS 0.
    Conditional: (2 / 2) / (1 / 10) = 10 and (6 / 2) / (0.5 / 10) = 60.
    """
    found = hand_made_profile().layer_scores()
    expected = [
        {
            "layer": 0,
            "avss": {"paper": 10, "scale_free": 2},
            "navss": 0.25,
            "cavss": 0.25,
            "block_influence": 0.1,
            "hsav": 0.8,
            "hss": 0.5,
            "eavss": {"contrast": 1.6, "conditional": 10},
        },
        {
            "layer": 1,
            "avss": {"paper": 30, "scale_free": 4},
            "navss": 0.75,
            "cavss": 1,
            "block_influence": 0.4,
            "hsav": 0,
            "hss": 0.5,
            "eavss": {"contrast": 0, "conditional": 60},
        },
    ]
    assert [list(layer) for layer in found] == [list(layer) for layer in expected]
    for layer, wanted in zip(found, expected, strict=True):
        for key, value in wanted.items():
            assert layer[key] == pytest.approx(value, abs=1e-12), key


def test_layer_scores_are_those_of_the_profile(model: PreTrainedModel) -> None:
    """Every block has its own index, and the numbers are plain floats, fit for JSON."""
    profile = profile_model(model, [paired(QUESTIONS)])
    found = profile.layer_scores()
    assert [layer["layer"] for layer in found] == list(range(BLOCKS))
    shares = scores.systematic_share(profile.differences.double())
    assert [layer["hsav"] for layer in found] == pytest.approx(scores.hsav_of_shares(shares).tolist())
    assert [layer["avss"]["paper"] for layer in found] == pytest.approx(scores.avss(profile.all_tokens).tolist())
    assert found[-1]["cavss"] == pytest.approx(1)
    kinds = {type(layer[key]) for layer in found for key in ("hsav", "hss", "navss", "cavss", "block_influence")}
    kinds |= {type(value) for layer in found for key in ("avss", "eavss") for value in layer[key].values()}
    assert kinds == {float}


def without(questions: list[Question], number: int, kind: str) -> list[Question]:
    """Return the questions, one without its answers of a kind."""
    spoiled = list(questions)
    kept = {"truthful": questions[number].truthful, "hallucinated": questions[number].hallucinated, kind: []}
    spoiled[number] = Question(**kept)
    return spoiled


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("kind", ["truthful", "hallucinated"])
def test_question_without_an_answer_of_a_kind_is_an_error(number: int, kind: str) -> None:
    with pytest.raises(EavssError, match=f"question {number} of the batch has no {kind} answer"):
        profile_model(tiny_model("llama"), [paired(without(QUESTIONS[:3], number, kind))])


def test_gap_in_the_numbers_of_questions_is_an_error() -> None:
    batch = paired(QUESTIONS[:2])
    with pytest.raises(EavssError, match="question 1 of the batch has no truthful answer"):
        profile_model(tiny_model("llama"), [PairedBatch(batch.batch, batch.question * 2, batch.hallucinated)])


def test_answer_without_a_token_is_an_error() -> None:
    good, empty = TokenSequence((1, 2, 3), 2, 3), TokenSequence((1, 2, 3), 3, 3)
    questions = [Question([good], [good]), Question([good], [empty])]
    with pytest.raises(EavssError, match=r"sequences \[2\] of the batch have no counted answer token"):
        profile_model(tiny_model("llama"), [paired(questions)])


@pytest.mark.parametrize("questions", [0, 1])
def test_fewer_than_two_questions_are_an_error(questions: int) -> None:
    batches = [paired(QUESTIONS[:1])] * questions
    with pytest.raises(EavssError, match="at least two questions"):
        profile_model(tiny_model("llama"), batches)


@pytest.mark.parametrize("training", [False, True])
def test_model_is_left_as_it_was(model: PreTrainedModel, training: bool) -> None:
    """GPT-2 has dropout of 0.1, which would show in the profile of a model in training."""
    expected = profile_model(model, [paired(QUESTIONS)])
    model.train(training)
    assert_same(profile_model(model, [paired(QUESTIONS)]), expected)
    assert {module.training for module in model.modules()} == {training}
    assert count_hooks(model) == 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_part_that_was_in_evaluation_mode_stays_so() -> None:
    model = tiny_model("gpt2").train()
    frozen = model.transformer.h[0].eval()
    profile_model(model, [paired(QUESTIONS)])
    assert model.training
    assert not frozen.training


def test_model_is_left_as_it_was_when_the_forward_pass_fails() -> None:
    model = tiny_model("gpt2").train()
    outside = TokenSequence((1, 2, 10_000), 2, 3)
    with pytest.raises(IndexError):
        profile_model(model, [paired([Question([outside], [outside])])])
    assert all(module.training for module in model.modules())
    assert count_hooks(model) == 0


def test_blocks_that_share_keys_are_read_at_every_token() -> None:
    """Gemma 4 runs its upper blocks on the last token alone where a number of logits is asked for."""
    model = tiny("Gemma 4")
    sequences = [TokenSequence((5, 6, 7, 8, 9), 2, 5), TokenSequence((5, 6, 9, 8, 7), 2, 5)]
    paired = PairedBatch(pad(sequences), torch.tensor([0, 0]), torch.tensor([False, True]))
    states = profile_batch(model, paired).states
    output = model(input_ids=torch.tensor([sequences[1].ids]), use_cache=False, output_hidden_states=True)
    torch.testing.assert_close(states[0, 1, 2], output.hidden_states[3][0, 2:].mean(0))


def test_states_of_four_dimensions_are_refused() -> None:
    paired = PairedBatch(pad([TokenSequence((5, 6, 7), 1, 3)] * 2), torch.tensor([0, 0]), torch.tensor([False, True]))
    with pytest.raises(EavssError, match="only models with one state a token are supported"):
        profile_batch(tiny("Gemma 3n"), paired)
