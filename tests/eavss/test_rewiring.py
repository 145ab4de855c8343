"""A rewired model is a loop over its blocks, written out; and nothing of the rewiring stays."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    Qwen2Config,
)

from eavss.blocks import find_blocks
from eavss.choices import REWIRINGS
from eavss.errors import EavssError
from eavss.prompt_cache import can_share
from eavss.rewiring import Step, is_rewired, middle_blocks, rewired, rewiring_order
from eavss.surgery import skip_blocks

BLOCKS = 7
WINDOW = 3
SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
KINDS = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"] + ["full_attention"] * 3
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "gpt2": lambda: GPT2Config(vocab_size=60, n_embd=32, n_layer=BLOCKS, n_head=2, initializer_range=0.2),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, sliding_window=WINDOW, head_dim=16, layer_types=KINDS),
    "qwen2": lambda: Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=WINDOW, layer_types=KINDS),
}
IDS = torch.randint(3, 60, (2, 10), generator=torch.Generator().manual_seed(0))
GROUPS = {"middle": [2, 3, 4, 5], "scattered": [1, 3, 6], "alone": [4], "all": list(range(BLOCKS))}


def make(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[family](), attn_implementation="eager")
    return model.float().eval()


@torch.no_grad()
def logits(model: PreTrainedModel, ids: Tensor = IDS) -> Tensor:
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found


@torch.no_grad()
def by_hand(model: PreTrainedModel, order: Sequence[Step]) -> Tensor:
    """Embed, run each step's blocks on the same states and average, and predict."""
    length = IDS.shape[1]
    apart = torch.arange(length).unsqueeze(1) - torch.arange(length)  # how far back a token looks
    full, sliding = (
        torch.zeros(length, length).masked_fill((apart < 0) | (apart >= window), torch.finfo(torch.float32).min)
        for window in (length, WINDOW)
    )
    positions = torch.arange(length).unsqueeze(0)
    base = model.base_model
    if model.config.model_type == "gpt2":
        states = base.wte(IDS) + base.wpe(positions)
        for step in order:
            states = sum(base.h[b](states, attention_mask=full[None, None]) for b in step) / len(step)
        return model.lm_head(base.ln_f(states))
    states = base.embed_tokens(IDS)
    for step in order:
        outputs = []
        for block in step:
            kind = getattr(model.config, "layer_types", None) or ["full_attention"] * BLOCKS
            own = (kind[block],) if model.config.model_type == "gemma3_text" else ()
            rotary = base.rotary_emb(states, positions, *own)
            mask = {"full_attention": full, "sliding_attention": sliding}[kind[block]][None, None]
            outputs.append(base.layers[block](states, attention_mask=mask, position_embeddings=rotary))
        states = sum(outputs) / len(step)
    return model.lm_head(base.norm(states))


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("rewiring", REWIRINGS)
@pytest.mark.parametrize("family", CONFIGS)
def test_a_rewired_model_is_the_loop_written_out(family: str, rewiring: str, group: list[int]) -> None:
    model = make(family)
    whole, before = logits(model), [dict(vars(module)) for module in model.modules()]
    order = rewiring_order(rewiring, group, BLOCKS, seed=1)  # type: ignore[arg-type]
    with rewired(model, order):
        found = logits(model)
    torch.testing.assert_close(found, by_hand(model, order), atol=1e-4, rtol=1e-4)
    assert (order == [(block,) for block in range(BLOCKS)]) == torch.equal(found, whole)
    assert [dict(vars(module)) for module in model.modules()] == before
    assert torch.equal(logits(model), whole)


def test_the_loop_in_the_models_own_order_is_the_model() -> None:
    for family in CONFIGS:
        model = make(family)
        own = [(block,) for block in range(BLOCKS)]
        torch.testing.assert_close(by_hand(model, own), logits(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("rewiring", "group", "order"),
    [
        ("skipped", [1, 3], [(0,), (2,), (4,)]),
        ("reversed", [1, 2, 4], [(0,), (4,), (2,), (3,), (1,)]),
        ("reversed", [1, 2], [(0,), (2,), (1,), (3,), (4,)]),
        ("shuffled", [0, 1, 2, 3], [(1,), (2,), (0,), (3,), (4,)]),
        ("centre_repeated", [1, 2, 3], [(0,), (2,), (2,), (2,), (4,)]),
        ("centre_repeated", [0, 1, 2, 3], [(2,), (2,), (2,), (2,), (4,)]),
        ("parallel", [3, 1, 2], [(0,), (1, 2, 3), (4,)]),
        ("parallel", [0, 1, 4], [(0, 1, 4), (2,), (3,)]),
        ("looped_parallel", [1, 2, 3], [(0,), (1, 2, 3), (1, 2, 3), (4,)]),
    ],
)
def test_the_orders_by_hand(rewiring: str, group: list[int], order: list[Step]) -> None:
    assert rewiring_order(rewiring, group, 5, seed=1, loops=2) == order  # type: ignore[arg-type]


def test_a_shuffle_keeps_to_its_seed() -> None:
    orders = [rewiring_order("shuffled", middle_blocks(2, 30), 30, seed=seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == [(block,) for block in range(30)]


def test_the_middle_ends_where_it_starts() -> None:
    assert middle_blocks(0, 4) == [0, 1, 2, 3]
    assert middle_blocks(2, 7) == [2, 3, 4]
    assert middle_blocks(14, 30) == [14, 15]
    for start, total in ((15, 30), (3, 7), (-1, 7), (0, 1)):
        with pytest.raises(EavssError, match="leaves fewer than two"):
            middle_blocks(start, total)


@pytest.mark.parametrize("order", [[(0,), (1,), (1,), *((b,) for b in range(2, BLOCKS))], [(6,), (0,), (0, 0, 3)]])
def test_any_order_can_be_run(order: list[Step]) -> None:
    """One in which a block runs again after its own place, and one in which some come earlier."""
    model = make("gemma3")
    with rewired(model, order):
        found = logits(model)
    torch.testing.assert_close(found, by_hand(model, order), atol=1e-4, rtol=1e-4)


def test_skipped_blocks_are_those_of_skip_blocks() -> None:
    model = make("llama")
    with skip_blocks(model, [0, 3, 4]):
        expected = logits(model)
    with rewired(model, rewiring_order("skipped", [0, 3, 4], BLOCKS)):
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("rewiring", ["skipped", "reversed", "shuffled", "parallel"])
@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_written_with_a_cache_is_what_is_written_without(family: str, rewiring: str) -> None:
    """Past the window, and with padding on the left of one prompt."""
    model = make(family)
    settings = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": 0}
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    with rewired(model, rewiring_order(rewiring, [2, 3, 4, 5], BLOCKS, seed=1)):  # type: ignore[arg-type]
        cached, plain = (
            model.generate(
                IDS, attention_mask=mask, use_cache=use, output_logits=True, return_dict_in_generate=True, **settings
            )
            for use in (True, False)
        )
    assert torch.equal(cached.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(plain.logits), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "rewiring", "group", "message"),
    [
        ("llama", "centre_repeated", [2, 3, 4], r"blocks \[3\] run more than once.*use_cache=False"),
        ("llama", "looped_parallel", [2, 3], r"blocks \[2, 3\] run more than once.*use_cache=False"),
        ("gpt2", "centre_repeated", [2, 3, 4], "run more than once"),
        ("llama", "skipped", [0], "length is read off block 0"),
        ("gemma3", "skipped", [1], "length is read off block 1"),
    ],
)
def test_a_cache_that_would_be_wrong_is_refused(family: str, rewiring: str, group: list[int], message: str) -> None:
    model = make(family)
    whole = logits(model)
    with rewired(model, rewiring_order(rewiring, group, BLOCKS)):  # type: ignore[arg-type]
        with pytest.raises(EavssError, match=message):
            model(input_ids=IDS, use_cache=True)
        logits(model)
    assert torch.equal(logits(model), whole)


def test_everything_is_restored_after_an_exception() -> None:
    """An exception inside, and one in the middle of a pass."""
    model = make("gpt2")
    whole = logits(model)
    order = rewiring_order("reversed", [1, 2, 3], BLOCKS)
    with pytest.raises(ZeroDivisionError), rewired(model, order):
        1 / 0  # noqa: B018
    assert torch.equal(logits(model), whole)
    with rewired(model, order):
        handle = find_blocks(model).modules[2].mlp.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits(model)
        handle.remove()
        found = logits(model)
    torch.testing.assert_close(found, by_hand(model, order), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(model), whole)


def test_gradients_reach_each_block_that_runs() -> None:
    model = make("llama")
    with rewired(model, rewiring_order("looped_parallel", [2, 3], BLOCKS)):
        model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_prompt_is_not_shared_while_the_model_is_rewired() -> None:
    model = make("llama")
    with rewired(model, [(block,) for block in range(BLOCKS)]):
        assert can_share(model)
        assert not is_rewired(model)
    with rewired(model, rewiring_order("reversed", [1, 2], BLOCKS)):
        assert not can_share(model)
        with pytest.raises(EavssError, match="rewired already"), rewired(model, [(0,)]):
            pass
        with pytest.raises(EavssError, match="replaced inside"), skip_blocks(model, [1]):
            logits(model)
    assert can_share(model)


@pytest.mark.parametrize(
    ("make_order", "message"),
    [
        (lambda: [(0,), ()], "step 1 names no block"),
        (lambda: [(0,), (7, -1)], r"\[7, -1\] lie outside.*0 to 6"),
        (lambda: rewiring_order("parallel", [], BLOCKS), "the list is empty"),
        (lambda: rewiring_order("parallel", [1, 1], BLOCKS), "twice"),
        (lambda: rewiring_order("looped_parallel", [1], BLOCKS, loops=0), "loops: 0 should be 1 or more"),
    ],
)
def test_an_order_that_cannot_be_is_refused(make_order: Callable[[], list[Step]], message: str) -> None:
    model = make("llama")
    with pytest.raises(EavssError, match=message), rewired(model, make_order()):
        pass


def test_a_model_whose_blocks_hang_together_is_refused() -> None:
    shared = Gemma3nTextConfig(
        **SIZES,
        head_dim=16,
        num_kv_shared_layers=2,
        layer_types=KINDS,
        vocab_size_per_layer_input=60,
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        activation_sparsity_pattern=None,
    )
    tuples = BloomConfig(vocab_size=60, hidden_size=32, n_layer=BLOCKS, n_head=2)
    for config, message in ((shared, "keys and values of others"), (tuples, "more than hidden states")):
        model = AutoModelForCausalLM.from_config(config).eval()
        with pytest.raises(EavssError, match=message), rewired(model, [(0,)]):
            pass
