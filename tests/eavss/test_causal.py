"""Causal effects of blocks, against runs of the model that are written out."""

import pytest
import torch

from eavss.batches import TokenSequence
from eavss.blocks import find_blocks
from eavss.causal import Intervention, causal_effects
from eavss.errors import EavssError
from eavss.pairing import batch_questions
from eavss.profile import PairedBatch
from eavss.rewiring import rewired
from scripts.families.configs import tiny
from tests.eavss.test_gradients import one_batch
from tests.toys import BLOCKS, KINDS, count_hooks, naive_logprobs, tiny_model


def naive_log_odds(model: torch.nn.Module, paired: PairedBatch, question: int) -> float:
    """log p(truthful) - log p(hallucinated), per token, one sequence after the other."""
    odds = 0.0
    for sign, hallucinated in ((1, False), (-1, True)):
        rows = ((paired.question == question) & (paired.hallucinated == hallucinated)).nonzero().flatten().tolist()
        for row in rows:
            places = paired.batch.answer_mask[row].nonzero().flatten().tolist()
            ids = paired.batch.input_ids[row][: places[-1] + 1].tolist()
            odds += sign * float(naive_logprobs(model, ids, places[0], places[-1] + 1).mean()) / len(rows)
    return odds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intervention", ["dropping", "repeating"])
@torch.no_grad()
def test_a_block_is_dropped_or_repeated_as_a_rewired_model_runs(kind: str, intervention: Intervention) -> None:
    model, paired = tiny_model(kind), one_batch()
    found = causal_effects(model, paired, intervention)
    assert found.shape == (6, BLOCKS)
    for layer in range(BLOCKS):
        order = [(block,) for block in range(BLOCKS)]
        order[layer : layer + 1] = [] if intervention == "dropping" else [(layer,)] * 2
        for question in (0, 4):
            before = naive_log_odds(model, paired, question)
            with rewired(model, order):
                # A cache would be wrong, and `naive_logprobs` passes none on.
                model.config.use_cache = False
                after = naive_log_odds(model, paired, question)
            assert float(found[question, layer]) == pytest.approx(after - before, abs=2e-4)
    assert count_hooks(model) == 0


@torch.no_grad()
def test_patching_puts_what_a_block_adds_into_the_other_run() -> None:
    """By hooks on whole passes: block l adds to the stream what it adds at the same token of the other answer."""
    model, paired = tiny_model("llama"), one_batch()
    found = causal_effects(model, paired, "patching")
    modules = find_blocks(model).modules
    question = 1
    rows = [int(((paired.question == question) & (paired.hallucinated == kind)).nonzero()[0]) for kind in (False, True)]
    right, wrong = (paired.batch.input_ids[row : row + 1] for row in rows)
    both = (paired.batch.answer_mask[rows[0]] & paired.batch.answer_mask[rows[1]]).nonzero().flatten()
    followed = [int(place) for place in both if place + 1 in both]

    def log_odds() -> float:
        logprobs = model(input_ids=wrong, use_cache=False).logits.log_softmax(-1)[0]
        return sum(float(logprobs[t, right[0, t + 1]] - logprobs[t, wrong[0, t + 1]]) for t in followed) / len(followed)

    for layer in range(BLOCKS):
        added: list[torch.Tensor] = []
        handle = modules[layer].register_forward_hook(lambda _m, a, output, added=added: added.append(output - a[0]))
        model(input_ids=right, use_cache=False)
        handle.remove()
        before = log_odds()

        def patch(_m: object, args: tuple[torch.Tensor, ...], output: torch.Tensor, added: torch.Tensor = added[0]):  # type: ignore[no-untyped-def]
            output = output.clone()
            output[0, both] = args[0][0, both] + added[0, both]
            return output

        handle = modules[layer].register_forward_hook(patch)
        after = log_odds()
        handle.remove()
        assert float(found[question, layer]) == pytest.approx(after - before, abs=2e-4)
        assert after != before


def test_patching_says_nothing_of_answers_of_one_token() -> None:
    """After them there is no next token whose odds could move."""
    long = [(False, TokenSequence((1, 2, 3, 4), 2, 4)), (True, TokenSequence((1, 2, 5, 6), 2, 4))]
    short = [(False, TokenSequence((1, 2, 3), 2, 3)), (True, TokenSequence((1, 2, 5, 6), 2, 4))]
    (batch,) = batch_questions([long, short], 1000)
    effects = causal_effects(tiny_model("llama"), batch, "patching")
    assert [row.isnan().tolist() for row in effects] == [[False] * BLOCKS, [True] * BLOCKS]


def test_models_whose_blocks_pass_on_more_are_refused() -> None:
    with pytest.raises(EavssError, match="dropping one of them cannot be measured; choose another selector"):
        causal_effects(tiny("Gemma 3n"), one_batch(), "dropping")
