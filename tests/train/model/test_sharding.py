"""Two ranks run a model that each of them holds half of, and say what one rank with a whole model says."""

import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import deepspeed
import pytest
import torch
from torch.distributed.elastic.utils.distributed import get_free_port
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from eavss.blocks import capture_block_outputs, find_blocks
from tests.toys import arguments, count_hooks, save_tiny, tiny_model
from train.model.loading import fingerprint, load_adapter, read_model
from train.model.lora import add_lora
from train.model.lora_counts import lora_parameters
from train.model.sharding import (
    dividing,
    each_whole,
    free_weights,
    gather_as_needed,
    hand_over,
    parts_of,
    whole_shape,
    zero3_settings,
)
from train.recipe.settings import BaseModel, LoraSettings
from train.runtime.distributed import map_sharded
from train.runtime.errors import ModelError

IDS = torch.arange(1, 9).unsqueeze(0)


class Stopped(Exception):  # noqa: N818 - not an error
    pass


def whole_pass(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def without_head(model: PreTrainedModel) -> torch.Tensor:
    return model.get_decoder()(input_ids=IDS, use_cache=False).last_hidden_state


def stopped_early(model: PreTrainedModel) -> torch.Tensor:
    found: list[torch.Tensor] = []

    def stop(_layer: int, output: torch.Tensor) -> None:
        found.append(output)
        raise Stopped

    with suppress(Stopped), capture_block_outputs(find_blocks(model), [1], stop):
        model(input_ids=IDS, use_cache=False)
    return found[0]


def written(model: PreTrainedModel) -> torch.Tensor:
    return model.generate(input_ids=IDS, do_sample=False, max_new_tokens=5, pad_token_id=0)  # type: ignore[operator]


# Seven pieces of work for two ranks: one has four, and what they run in each turn differs.
WORK: list[Callable[[PreTrainedModel], torch.Tensor]] = [
    *(whole_pass, without_head, without_head, whole_pass, written, stopped_early, stopped_early),
]


@torch.no_grad()
def results(model: PreTrainedModel) -> list[object]:
    return map_sharded(lambda work: work(model).tolist(), WORK, "work")


def read_divided(folder: str) -> PreTrainedModel:
    with dividing({"stage": 3}, torch.float32):
        model = read_model(BaseModel(folder, dtype="float32"))
    gather_as_needed(model)
    return model


def held(model: PreTrainedModel) -> int:
    return sum(weight.numel() for weight in model.parameters())


def most_held(model: PreTrainedModel) -> int:
    """Return how many numbers of the weights are there at once, at most, in a forward pass."""
    found: list[int] = []
    handles = [part.register_forward_pre_hook(lambda *_: found.append(held(model))) for part in parts_of(model)]
    results(model)
    for handle in handles:
        handle.remove()
    return max(found)


def run_divided(folder: str, adapter: str) -> dict[str, object]:
    """Read a model in halves, run it, put an adapter on it, and give it away."""
    model = read_divided(folder)
    found: dict[str, object] = {
        "share": sum(weight.ds_tensor.numel() for weight in model.parameters()),  # type: ignore[attr-defined]
        "wants synchronised generation": is_deepspeed_zero3_enabled(),
        "results": results(model),
        "most held": most_held(model),
        "held afterwards": held(model),
        "fingerprint": fingerprint(model),
        "weights": [weight.tolist() for weight in each_whole(model)],
        "shapes": [whole_shape(weight) for weight in model.parameters()],
        "adapter's parameters": lora_parameters(model, LoraSettings()),
    }
    adapted = load_adapter(model, adapter)
    found["adapted"] = results(adapted)  # type: ignore[arg-type]
    found["fingerprint with adapter"] = fingerprint(adapted)
    hand_over(adapted)
    found["hooks"] = count_hooks(adapted)
    free_weights(adapted)
    found["left"] = sum(getattr(weight, "ds_tensor", torch.empty(0)).numel() for weight in adapted.parameters())
    return found


def rank(number: int, port: int, folder: str, adapter: str, found: "multiprocessing.Queue[object]") -> None:
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    deepspeed.init_distributed("gloo")
    found.put((number, run_divided(folder, adapter)))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # the second ties its head to its embeddings
def test_two_halves_say_what_a_whole_model_says(kind: str, tmp_path: Path) -> None:
    folder, adapter = str(tmp_path / "model"), str(tmp_path / "adapter")
    tiny_model(kind).save_pretrained(folder)
    adapted = add_lora(tiny_model(kind), [1, 2], LoraSettings())
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(adapter)
    port = get_free_port()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [context.Process(target=rank, args=(number, port, folder, adapter, queue)) for number in (0, 1)]
    for process in ranks:
        process.start()
    of_ranks = [found for _, found in sorted(queue.get(timeout=300) for _ in ranks)]
    for process in ranks:
        process.join(timeout=60)
    whole = read_model(BaseModel(folder, dtype="float32"))
    parts = [sum(weight.numel() for weight in part.parameters()) for part in parts_of(whole)]
    expected = results(whole)
    weights, flat = ([get(weight).tolist() for weight in whole.parameters()] for get in (torch.clone, torch.flatten))
    shapes = [weight.shape for weight in whole.parameters()]
    fingerprint_alone, parameters = fingerprint(whole), lora_parameters(whole, LoraSettings())
    with_adapter = load_adapter(whole, adapter)
    for found in of_ranks:
        assert found["share"] == pytest.approx(sum(map(len, flat)) / 2, rel=0.01)
        assert not found["wants synchronised generation"]
        assert found["results"] == expected
        assert found["most held"] == max(parts)
        assert found["held afterwards"] == 0
        assert found["fingerprint"] == fingerprint_alone
        assert found["weights"] == weights
        assert found["shapes"] == shapes
        assert found["adapter's parameters"] == parameters
        assert found["adapted"] == results(with_adapter) != expected  # type: ignore[arg-type]
        assert found["fingerprint with adapter"] == fingerprint(with_adapter) != fingerprint_alone
        assert found["hooks"] == 0
        assert found["left"] == 0


def test_weights_that_stand_beside_the_blocks_are_refused() -> None:
    model = tiny_model("llama")
    model.model.scale = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ModelError, match="ZeRO-3 cannot divide LlamaForCausalLM, where model holds weights beside"):
        list(parts_of(model))


def test_a_whole_model_stays_as_it_is_until_it_is_freed(tmp_path: Path) -> None:
    _, training = arguments(tmp_path)
    assert zero3_settings(training) is None
    model = read_model(BaseModel(str(save_tiny(tmp_path / "model")), dtype="float32"))
    before = [weight.clone() for weight in model.parameters()]
    hand_over(model)
    assert all(torch.equal(*pair) for pair in zip(before, each_whole(model), strict=True))
    free_weights(model)
    assert held(model) == 0
