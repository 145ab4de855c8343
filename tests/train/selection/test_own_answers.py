"""The model's states on its own answers, against forward passes of one answer alone."""

import pytest
import torch

from eavss.batches import TokenSequence
from eavss.blocks import capture_block_outputs, find_blocks
from eavss.confidence import confidence_of
from tests.toys import BLOCKS, HIDDEN, tiny_model
from train.publishing.plots import plot_own_answers
from train.selection.own_answers import States, block_records, read_states

SEQUENCES = [
    TokenSequence((5, 6, 7, 8, 9), 2, 4),
    TokenSequence((10, 11, 12), 1, 3),
    TokenSequence((20, 21, 22, 23, 24, 25, 26), 4, 7),
]


@pytest.mark.parametrize("token_budget", [1, 1000])
def test_states_are_those_of_each_answer_alone(token_budget: int) -> None:
    model = tiny_model("llama")
    found = read_states(model, SEQUENCES, token_budget)
    assert found.prompt.shape == found.answer.shape == (3, BLOCKS, HIDDEN)
    for number, sequence in enumerate(SEQUENCES):
        outputs: list[torch.Tensor] = []
        with (
            torch.no_grad(),
            capture_block_outputs(
                find_blocks(model), list(range(BLOCKS)), lambda _l, o, kept=outputs: kept.append(o[0])
            ),
        ):
            model(input_ids=torch.tensor([sequence.ids]))
        alone = torch.stack(outputs)  # (L, T, H)
        start, end = sequence.answer_start, sequence.answer_end
        torch.testing.assert_close(found.prompt[number], alone[:, start - 1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.answer[number], alone[:, start:end].mean(1), atol=1e-4, rtol=1e-4)


def test_a_block_that_knows_is_found_and_drawn() -> None:
    """Block 1 has the label in a quarter of its units on the answer, and nowhere before it."""
    generator = torch.Generator().manual_seed(0)
    right = [bool(n % 3) for n in range(60)]
    answer = torch.randn(60, 3, 16, generator=generator)
    answer[:, 1, :4] += 3 * torch.tensor(right).float().unsqueeze(1)
    confidences = [confidence_of([float(torch.randn(1, generator=generator)) - 9]) for _ in right]
    records = block_records(States(torch.randn(60, 3, 16, generator=generator), answer), confidences, right, seed=0)
    assert [record["layer"] for record in records] == [0, 1, 2]
    assert records[1]["answer_auroc"] > 0.95
    assert records[1]["eavss"] > 3 * max(records[0]["eavss"], records[2]["eavss"])
    assert records[1]["prompt_auroc"] < 0.85
    for record in records:
        low, high = record["answer_interval"]
        assert low <= record["answer_auroc"] <= high
    assert records[1]["answer_combined"] > 0.95
    assert records[1]["answer_gain"][0] > 0
    assert plot_own_answers(records, 0.7).startswith(b"\x89PNG")
