"""Run a model with its blocks in another order: skipped, reversed, shuffled, repeated, or in parallel.

The rewirings are those of "Transformer Layers as Painters" (arXiv 2407.09298). Two more of the paper need no name of
their own: one block dropped is a group of one that is skipped, and two neighbours swapped are a group of two reversed.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig

from eavss.blocks import find_blocks, replace_forward
from eavss.choices import Rewiring
from eavss.errors import EavssError
from eavss.selectors import check_layers

Step = tuple[int, ...]


def middle_blocks(start: int, total: int) -> list[int]:
    """Return the blocks between the first `start` and the last `start` ones: start to L - start - 1.

    Raises:
        EavssError: fewer than two are left.
    """
    if not 0 <= start <= total // 2 - 1:
        raise EavssError(f"start: {start} leaves fewer than two of {total} blocks; 0 to {total // 2 - 1} do not")
    return list(range(start, total - start))


def rewiring_order(
    rewiring: Rewiring, group: Sequence[int], total: int, *, seed: int = 0, loops: int = 3
) -> list[Step]:
    """Return the order for `rewired` in which a group of blocks is rewired, and the others stay where they are.

    The group need not be neighbours: its blocks trade places with each other. Blocks that run in parallel do so at the
    place of the group's centre, and nothing is left at the other places.

    Args:
        rewiring: `skipped`: no block of the group runs. `reversed`, `shuffled`: its blocks run in reversed order, or in
            one drawn by seed. `centre_repeated`: its centre block (the upper of two) runs in place of each.
            `parallel`: all of them read the same states, and what they return is averaged. `looped_parallel`: that,
            `loops` times.
        group: the indices of the blocks.
        total: how many blocks the model has.

    Raises:
        EavssError: see `eavss.selectors.check_layers`; or `loops` is below 1.
    """
    places = check_layers(list(group), total)
    if loops < 1:
        raise EavssError(f"loops: {loops} should be 1 or more")
    centre = places[len(places) // 2]
    at: dict[int, list[Step]] = {}
    match rewiring:
        case "reversed":
            at = {place: [(block,)] for place, block in zip(places, reversed(places), strict=True)}
        case "shuffled":
            shuffled = random.Random(seed).sample(places, len(places))
            at = {place: [(block,)] for place, block in zip(places, shuffled, strict=True)}
        case "centre_repeated":
            at = {place: [(centre,)] for place in places}
        case "parallel":
            at = {centre: [tuple(places)]}
        case "looped_parallel":
            at = {centre: [tuple(places)] * loops}
    stay: dict[int, list[Step]] = {block: [(block,)] for block in range(total) if block not in places}
    return [step for place in range(total) for step in (stay | at).get(place, [])]


@contextmanager
def rewired(model: nn.Module, order: Sequence[Sequence[int]]) -> Iterator[None]:
    """Run the forward passes inside with the blocks in another order.

    Nothing is copied, and everything is as before on exit. Each block keeps the mask and the positions that the model
    gives to it, so models that mix attention with and without a sliding window are rewired as they should be. A cache
    of keys and values is right as long as no block runs twice. Hooks on blocks that are rewired see only the states
    that enter the first of them; hooks inside the blocks see what runs.

    Args:
        model: a causal LM whose blocks return the hidden states (B, T, H) alone.
        order: the steps from the embeddings to the head. A step names the blocks that read the same states, and the
            mean of what they return is the next step's input. Of four blocks, [(0,), (1, 2), (1, 2), (3,)] runs 1
            and 2 in parallel, twice; a block that no step names does not run. See `rewiring_order`.

    Raises:
        EavssError: a step is empty or names no block of the model; the model is rewired already; or it cannot be,
            since its blocks share keys and values or return more than hidden states. Inside, a forward pass raises it
            when a cache would be wrong: pass `use_cache=False`.
    """
    modules = find_blocks(model).modules
    steps = _check_order(order, len(modules))
    _check_model(model, modules)
    span, changed = _changed(steps, len(modules))
    twice = [block for block, count in Counter(block for step in steps for block in step).items() if count > 1]
    absent = set(range(len(modules))).difference(*steps)
    passes = _Passes({place: modules[place].forward for place in span}, changed, twice, absent)
    with ExitStack() as stack:
        for place in span:
            stack.enter_context(replace_forward([modules[place]], _Place(passes, place)))
        yield


def is_rewired(model: nn.Module) -> bool:
    """Return whether this is called inside `rewired`, and the order is not the model's own."""
    return any(isinstance(vars(module).get("forward"), _Place) for module in model.modules())


def _check_order(order: Sequence[Sequence[int]], total: int) -> list[Step]:
    steps = [tuple(step) for step in order]
    if () in steps:
        raise EavssError(f"order: step {steps.index(())} names no block; leave the step out")
    outside = [block for step in steps for block in step if not 0 <= block < total]
    if outside:
        raise EavssError(f"order: {outside} lie outside the model's blocks, which are 0 to {total - 1}")
    return steps


def _check_model(model: nn.Module, modules: nn.ModuleList) -> None:
    if is_rewired(model):
        raise EavssError("the model is rewired already; leave the first rewiring before the second")
    config = cast(PreTrainedConfig, model.config).get_text_config(decoder=True)
    if getattr(config, "num_kv_shared_layers", 0):
        raise EavssError(
            f"{type(model).__name__}: some blocks read the keys and values of others, so they keep their order"
        )
    kinds: list[type] = []
    handles = [module.register_forward_hook(lambda _m, _a, output: kinds.append(type(output))) for module in modules]
    try:
        # Annotations do not tell: some name a tuple where the block returns a tensor. One token does.
        with torch.no_grad():
            token = torch.zeros((1, 1), dtype=torch.long, device=next(model.parameters()).device)
            model(input_ids=token, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if not all(issubclass(kind, Tensor) for kind in kinds):
        raise EavssError(f"{type(model).__name__}: its blocks return more than hidden states, so it cannot be rewired")


def _changed(steps: list[Step], total: int) -> tuple[range, list[Step]]:
    """Return the places outside of which every block runs as ever, and the steps that run between them."""
    shortest = min(len(steps), total)
    lead = next((n for n in range(shortest) if steps[n] != (n,)), shortest)
    rest = shortest - lead
    trail = next((n for n in range(rest) if steps[-1 - n] != (total - 1 - n,)), rest)
    # The blocks that run between them have to be among them, because their arguments come from their own places.
    used = [block for step in steps[lead : len(steps) - trail] for block in step]
    lead, trail = min([lead, *used]), min([trail, *(total - 1 - block for block in used)])
    return range(lead, total - trail), steps[lead : len(steps) - trail]


class _Passes:
    """Collects the arguments of each place on the way, and runs the steps at the last place.

    Only there all arguments are known. Every place before it passes on what enters.

    Args:
        forwards: what each place runs in the model's own order.
        steps: what runs instead.
        twice: the blocks that the whole order runs more than once.
        absent: the blocks that it does not run.
    """

    def __init__(
        self, forwards: dict[int, Callable[..., Tensor]], steps: list[Step], twice: list[int], absent: set[int]
    ) -> None:
        self._forwards, self._steps, self._twice, self._absent = forwards, steps, twice, absent
        self._calls: dict[int, tuple[tuple[object, ...], dict[str, object]]] = {}

    def reach(self, place: int, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
        if place == min(self._forwards):
            self._calls = {}  # a pass that failed may have left some
            self._check_cache(next((v for v in (*args, *kwargs.values()) if isinstance(v, Cache)), None))
        self._calls[place] = args, kwargs
        states = cast(Tensor, args[0] if args else kwargs["hidden_states"])
        if place < max(self._forwards):
            return states
        if self._calls.keys() != self._forwards.keys():
            raise EavssError("some blocks were replaced inside the rewiring; leave them out of the order instead")
        for step in self._steps:
            outputs = [self._run(block, states) for block in step]
            states = torch.stack(outputs).mean(0) if len(outputs) > 1 else outputs[0]
        self._calls = {}
        return states

    def _run(self, block: int, states: Tensor) -> Tensor:
        args, kwargs = self._calls[block]
        forward = self._forwards[block]
        return forward(states, *args[1:], **kwargs) if args else forward(**kwargs | {"hidden_states": states})

    def _check_cache(self, cache: Cache | None) -> None:
        if cache is None:
            return
        if self._twice:
            raise EavssError(
                f"blocks {self._twice} run more than once, and a cache holds a block's keys and values once; "
                "pass use_cache=False"
            )
        # The model reads the cache's length off block 0, and off the first block of each kind of attention.
        kinds = [type(layer) for layer in cache.layers]
        measured = {0} | {kinds.index(kind) for kind in kinds}
        if measured & self._absent:
            raise EavssError(
                f"the cache's length is read off block {min(measured & self._absent)}, which does not run; "
                "pass use_cache=False"
            )


class _Place:
    """The forward of a block that is rewired."""

    def __init__(self, passes: _Passes, place: int) -> None:
        self._passes, self._place = passes, place

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        return self._passes.reach(self._place, args, kwargs)
