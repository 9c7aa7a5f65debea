"""Looking into a model without changing it: hooks that go again, evaluation mode that is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Ran = Callable[[str, nn.Module, Any, Any], None]


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of the weights; both as they were afterwards, module by module.

    In evaluation mode batch normalisation reads its buffers and does not write them.
    """
    training = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, was in training:
            module.training = was
        for parameter, did in wanted:
            parameter.requires_grad_(did)


@contextmanager
def hooked(model: nn.Module, watchers: Iterable[tuple[str, Ran]]) -> Iterator[None]:
    """Calls a watcher whenever its module has run, with its name, the module, the tuple of its inputs and its output.

    What a watcher is given may be overwritten by the next layer (`ReLU(inplace=True)`): it takes what it needs at once, or a copy.

    Args:
        watchers: the name of a module, and what to call.
    """
    modules = dict(model.named_modules())
    handles = []
    try:
        for name, watcher in watchers:

            def hook(module: nn.Module, inputs: Any, output: Any, name: str = name, watcher: Ran = watcher) -> None:
                watcher(name, module, inputs, output)

            handles.append(modules[name].register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Reached(Exception):
    """Ends a forward pass at the layer that is wanted."""


def output_of(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """What a module gives for these images; the layers behind it are not run. Differentiable.

    Args:
        images: normalised float (N, 3, H, W).

    Returns:
        float (N, C, h, w); h = w = 1 for a linear layer.
    """
    taken: list[Tensor] = []

    def take(_name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        taken.append(as_map(output))
        raise _Reached  # before the next layer, which may overwrite it

    with hooked(model, [(name, take)]):
        try:
            model(images)
        except _Reached:
            pass
    return taken[0]


def as_map(values: Tensor) -> Tensor:
    """float (N, C) or (N, C, h, w) -> float (N, C, h, w)."""
    return values[:, :, None, None] if values.ndim == 2 else values


def seeded(seed: int) -> torch.Generator:
    """A generator of torch's on the CPU: the same numbers whatever the device."""
    return torch.Generator().manual_seed(seed)
