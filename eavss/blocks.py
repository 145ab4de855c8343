"""Find the decoder blocks of any causal language model, and capture what enters and leaves them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from eavss.errors import EavssError

# `logits_to_keep` of a forward pass whose logits are not wanted. A number would let some models, which share keys and
# values among blocks, run their upper blocks on the last token alone.
ONE_LOGIT = torch.zeros(1, dtype=torch.long)


@dataclass(frozen=True)
class Blocks:
    """A model's decoder blocks, in depth order.

    Args:
        path: the dotted name of their ModuleList inside the model, as `model.layers`.
        modules: the ModuleList itself, of length L.
    """

    path: str
    modules: nn.ModuleList

    @property
    def pattern(self) -> str:
        """The last part of the path, as PEFT's `layers_pattern` expects it."""
        return self.path.rpartition(".")[2]

    def linear_modules(self, layer: int) -> dict[str, nn.Module]:
        """Return the linear layers inside a block by their names in it."""
        return {name: module for name, module in self.modules[layer].named_modules() if _is_linear(module)}

    def linear_names(self, layers: Iterable[int] | None = None) -> list[str]:
        """Return the sorted leaf names of the linear layers inside blocks, as PEFT's `target_modules` expects them.

        Routers are left out, and layers that several blocks share: an adapter on one block would change the others.

        Args:
            layers: the blocks' indices; None for all. Blocks of a hybrid have different layers.
        """
        every = range(len(self.modules)) if layers is None else layers
        names = {_leaf(name) for layer in every for name in self.linear_modules(layer)}
        routers = {_leaf(name) for name, module in self.modules.named_modules() if _is_router(module)}
        return sorted(names - routers - self._shared_names())

    def fused_experts(self, layer: int) -> dict[str, nn.Parameter]:
        """Return a block's experts by their names in it, where a mixture holds those of a block in one weight.

        Returns:
            Weights of three dimensions, of which the first is the expert.
        """
        return {
            f"{name}.{key}": weight
            for name, module in self.modules[layer].named_modules()
            if "expert" in name  # a block-diagonal layer has three dimensions too
            for key, weight in module.named_parameters(recurse=False)
            if len(getattr(weight, "ds_shape", weight.shape)) == 3
        }

    def _shared_names(self) -> set[str]:
        """Return the leaf names of linear layers whose weight several blocks have, so that none has it alone."""
        owners: dict[int, set[int]] = {}
        for layer in range(len(self.modules)):
            for module in self.linear_modules(layer).values():
                owners.setdefault(id(module.weight), set()).add(layer)
        return {
            _leaf(name)
            for layer in range(len(self.modules))
            for name, module in self.linear_modules(layer).items()
            if len(owners[id(module.weight)]) > 1
        }


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _is_linear(module: nn.Module) -> bool:
    # GPT-2's Conv1D is a linear layer with its weight transposed.
    return (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and not _is_router(module)


def _is_router(module: nn.Module) -> bool:
    """Return whether a linear layer has a forward of its own that returns something else than its product.

    The routers of some mixtures do. An adapter's product can be added to no such output.
    """
    if not isinstance(module, nn.Linear) or type(module).forward is nn.Linear.forward:
        return False
    if not module.weight.is_floating_point():  # bitsandbytes packs plain linear layers alone
        return False
    ones = torch.ones_like(module.weight[:1])
    with torch.no_grad():
        try:
            output = module(ones)
        except Exception:  # it wants other arguments
            return True
        expected = nn.functional.linear(ones, module.weight, module.bias)
    return not isinstance(output, Tensor) or output.shape != expected.shape or not torch.allclose(output, expected, 0.1)


def find_blocks(model: nn.Module) -> Blocks:
    """Find the outermost ModuleList with one entry for each of the config's hidden layers.

    Raises:
        EavssError: the model has an encoder, no such list, or two of them.
    """
    config = cast(PreTrainedConfig, model.config)
    count = config.get_text_config(decoder=True).num_hidden_layers
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outermost = [(name, module) for name, module in found if not any(name.startswith(f"{n}.") for n, _ in found)]
    if len(outermost) != 1 or config.is_encoder_decoder:
        names = ", ".join(name for name, _ in outermost) or "none"
        raise EavssError(
            f"{type(model).__name__}: expected one list of {count} decoder blocks, found {names}; "
            "only decoder-only causal language models are supported"
        )
    return Blocks(*outermost[0])


def require_states(states: Tensor, shape: Sequence[int], layer: int) -> None:
    """Check what enters or leaves a block.

    Args:
        states: expected to be (B, T, H).
        shape: (B, T).

    Raises:
        EavssError: it is not one state for each token.
    """
    if states.shape[:-1] != torch.Size(shape):
        raise EavssError(
            f"block {layer} has states of shape {tuple(states.shape)} for {tuple(shape)} tokens; only models with one "
            "state a token are supported"
        )


@contextmanager
def capture_block_outputs(blocks: Blocks, layers: list[int], receive: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `receive(layer, output)` with each named block's output (B, T, H) during the forward passes inside.

    The output is the residual stream after the block, before the final norm. The hooks are always removed.

    Raises:
        EavssError: the body ended without an error, but some block never ran.
    """
    silent = set(layers)

    def hook_for(layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[object, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            silent.discard(layer)
            # Some architectures still return a tuple; a bare tensor must not be indexed, which would take row 0.
            receive(layer, output if isinstance(output, torch.Tensor) else output[0])

        return hook

    handles = []
    try:
        for layer in layers:  # inside `try`: an index past the last must not leave the first hooks behind
            handles.append(blocks.modules[layer].register_forward_hook(hook_for(layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()
    if silent:
        raise EavssError(f"the hooks on blocks {sorted(silent)} of {blocks.path} never fired: the blocks did not run")


@contextmanager
def capture_block_input(blocks: Blocks, layer: int, receive: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `receive` with the hidden states (B, T, H) that enter block `layer` during the forward passes inside."""

    def hook(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        receive(args[0] if args else kwargs["hidden_states"])

    handle = blocks.modules[layer].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def start_at_block(blocks: Blocks, layer: int, states: Tensor) -> Iterator[None]:
    """Run the forward passes inside from block `layer` on, with `states` (B, T, H) as its input.

    The blocks below do nothing. The model still makes its masks and positions from its own inputs, so this works for
    any architecture whose blocks pass on nothing but hidden states.
    """

    def hook(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> tuple[Any, Any]:
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    handle = blocks.modules[layer].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with replace_forward(blocks.modules[:layer], lambda *_args, **_kwargs: states):
            yield
    finally:
        handle.remove()


@contextmanager
def replace_forward(modules: Iterable[nn.Module], forward: Callable[..., Tensor]) -> Iterator[None]:
    """Let `forward` compute what the modules return, inside; what they had before comes back."""
    attributes = [vars(module) for module in modules]
    before = [own.get("forward") for own in attributes]
    try:
        for own in attributes:
            own["forward"] = forward  # shadows the method of the class
        yield
    finally:
        for own, earlier in zip(attributes, before, strict=True):
            if earlier is None:
                del own["forward"]
            else:
                own["forward"] = earlier


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch the model to evaluation mode inside, and restore the mode of each of its parts afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
