"""Conditions under which a ranking should hold, and one under which it should not."""

from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from data.examples import Example, WrongAnswer, wrong_answers
from tests.toys import EXAMPLES, count_hooks, tiny_tokenizer
from train.batching.encoding import Encoder
from train.selection.controls import halves, noisy_embeddings, paraphrased, under_other_questions, with_equal_lengths

ENCODER = Encoder(tiny_tokenizer(), "plain", 128)


def test_answers_go_under_another_question_and_stay_as_they_are() -> None:
    for count in (6, 5):
        moved = under_other_questions(EXAMPLES[:count])
        assert [e.truthful for e in moved] == [e.truthful for e in EXAMPLES[:count]]
        assert all(after.question != before.question for after, before in zip(moved, EXAMPLES, strict=False))
        assert sorted(e.question for e in moved) == sorted(e.question for e in EXAMPLES[:count])


def test_a_paraphrase_changes_the_prompt_alone() -> None:
    example = paraphrased(EXAMPLES)[0]
    assert ENCODER.prompt(example) == "Q: which number follows 0?\nA:"
    (plain,), (other,) = ENCODER(EXAMPLES[0], ["it is 1"]), ENCODER(example, [" it is 1"])
    assert plain.answer == other.answer
    assert plain.prompt != other.prompt
    assert paraphrased([example]) == []  # a user's own prompt is left alone


def test_earlier_turns_go_with_their_question() -> None:
    talk = [replace(e, history=((f"{n}?", f"It is {n}."),)) for n, e in enumerate(EXAMPLES[:4])]
    assert [example.history for example in under_other_questions(talk)] == [e.history for e in talk[2:] + talk[:2]]
    first = paraphrased(talk)[0]
    assert ENCODER.prompt(first) == "Q: 0?\nA: It is 0.\n\nQ: which number follows 0?\nA:"


def test_equal_lengths_keep_the_nearest_pair_of_each_question() -> None:
    """One token a byte: " four" against " fibs" is a tie; " a longer one" has nothing near."""
    near = Example(
        "toy",
        "q1",
        ("four", "a long answer"),
        (WrongAnswer("fibs", "dataset"), WrongAnswer("much much longer", "model")),
    )
    far = Example("toy", "q2", ("x",), wrong_answers(["a longer one"], "dataset"))
    found = with_equal_lengths([near, far], ENCODER)
    assert [(e.question, e.truthful, e.wrong_answers) for e in found] == [
        ("q1", ("four",), (WrongAnswer("fibs", "dataset"),))
    ]


def test_halves_are_disjoint_and_seeded() -> None:
    first, second = halves(EXAMPLES, seed=0)
    assert len(first) == len(second) == 3
    assert {e.question for e in first} | {e.question for e in second} == {e.question for e in EXAMPLES}
    assert halves(EXAMPLES, seed=0) == (first, second)


def test_noise_is_one_per_cent_seeded_and_gone_afterwards(model: PreTrainedModel) -> None:
    ids = torch.arange(200).view(2, 100)
    embedding: nn.Module = model.get_input_embeddings()
    plain, hooks = embedding(ids), count_hooks(model)
    noisy = []
    for _ in range(2):
        with noisy_embeddings(model, seed=3):
            noisy.append(embedding(ids))
    assert torch.equal(noisy[0], noisy[1])
    ratio = (noisy[0] - plain).square().mean().sqrt() / plain.square().mean().sqrt()
    assert abs(ratio.item() - 0.01) < 0.0005
    assert count_hooks(model) == hooks
