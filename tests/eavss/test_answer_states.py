"""States on answers that are read together are those of each answer alone."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from eavss.answer_states import answer_states
from eavss.batches import TokenSequence
from eavss.blocks import capture_block_outputs, find_blocks
from eavss.prompt_cache import read_beginning
from tests.toys import KINDS, tiny_model

BEGINNING = tuple(range(10, 30))
SEQUENCES = {
    "own": [
        TokenSequence((5, 6, 7, 8, 9), 2, 4),
        TokenSequence((10, 11, 12), 1, 3),
        TokenSequence((20, 21, 22, 23, 24, 25, 26), 4, 7),
    ],
    "common": [
        TokenSequence((*BEGINNING, 40, 41, 42), 21, 23),
        TokenSequence((*BEGINNING, 50, 51, 52, 53, 54), 23, 25),
        TokenSequence((*BEGINNING, 60, 61, 62, 63), 22, 23),
    ],
}


def windowed() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    return MistralForCausalLM(MistralConfig(vocab_size=300, sliding_window=8, num_key_value_heads=2, **sizes)).eval()


@pytest.mark.parametrize("which", SEQUENCES)
@pytest.mark.parametrize("kind", [*KINDS, "windowed"])
def test_states_are_those_of_each_answer_alone(kind: str, which: str) -> None:
    model, layers = windowed() if kind == "windowed" else tiny_model(kind), [1, 3]
    found = answer_states(model, SEQUENCES[which], layers)
    for number, sequence in enumerate(SEQUENCES[which]):
        outputs: list[torch.Tensor] = []
        with (
            torch.no_grad(),
            capture_block_outputs(find_blocks(model), layers, lambda _l, o, kept=outputs: kept.append(o[0])),
        ):
            model(input_ids=torch.tensor([sequence.ids]))
        alone = torch.stack(outputs)  # (K, T, H)
        start, end = sequence.answer_start, sequence.answer_end
        torch.testing.assert_close(found.prompt[number], alone[:, start - 1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.answer[number], alone[:, start:end].mean(1), atol=1e-4, rtol=1e-4)


def test_a_beginning_that_was_read_before_changes_nothing() -> None:
    model, layers, sequences = tiny_model("llama"), [1, 3], SEQUENCES["common"]
    with torch.no_grad():
        beginning = read_beginning(model, [sequence.prompt for sequence in sequences])
    assert beginning is not None
    assert beginning.ids == BEGINNING[:-1]
    whole = answer_states(model, sequences, layers)
    for number, sequence in enumerate(sequences):
        alone = answer_states(model, [sequence], layers, beginning)
        torch.testing.assert_close(alone.answer[0], whole.answer[number], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.prompt[0], whole.prompt[number], atol=1e-5, rtol=1e-5)
