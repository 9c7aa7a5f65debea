"""A network in float16 or bfloat16, as torch will export it: weights and arithmetic in the low type, what comes in and goes out in
float32.

Batch normalisation is folded in float32 before anything is cast, since its variance may not fit float16 and each product that is
rounded on the way costs digits. Some layers stay in float32: averages over whole images, whose sums may not fit float16, and with
bfloat16 transposed convolutions, which TensorRT-RTX refuses. Further layers can be restored to float32 by name (`repair.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dlcv.runtime.errors import ExportError
from dlcv.train.checkpoints.ensemble import EnsembleNetwork

LOW = {"fp16": torch.float16, "bf16": torch.bfloat16}
KEPT: dict[str, tuple[type[nn.Module], ...]] = {
    "fp16": (nn.AdaptiveAvgPool2d,),
    "bf16": (nn.AdaptiveAvgPool2d, nn.ConvTranspose2d),
}
"""Layers that stay in float32, by precision."""
MAX_FOLDING_DIFFERENCE = 1e-3
"""Relative to the largest logit; folding moves them by float32's rounding, a wrong fold by far more."""
_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def network_at(
    network: nn.Module, precision: str, size_hw: tuple[int, int], restored: Collection[str] = ()
) -> nn.Module:
    """A copy of a network that computes in a low precision.

    Args:
        network: in evaluation mode, on the CPU; takes normalised float32 (N, 3, H, W). Left as it is.
        precision: `fp16` or `bf16`.
        size_hw: height and width of an image that it takes, in pixels.
        restored: names of convolutions and linear layers that compute in float32. What they give stays in float32 up to the
            next layer in the low type, so that a value beyond float16 between two of them is kept.

    Returns:
        A network that takes and gives float32. Of an ensemble each member is cast, and the mean is taken in float32.

    Raises:
        ExportError: when batch normalisation cannot be folded without changing what the network says.
    """
    if isinstance(network, EnsembleNetwork):
        members = []
        for number, member in enumerate(network.members):
            own = {name.split(".", 2)[2] for name in restored if name.startswith(f"members.{number}.")}
            members.append(network_at(member, precision, size_hw, own))
        return EnsembleNetwork(members).eval()
    folded = _folded(copy.deepcopy(network), torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(0)))
    if restored:
        _restore(folded, restored, LOW[precision])
    _keep(folded, KEPT[precision])
    return _Low(folded, LOW[precision]).eval()


class _Low(nn.Module):
    """A network in a low type behind float32 doors."""

    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        # put aside: a weight that was cast and cast back has lost its digits, or overflowed
        kept = [(m, copy.deepcopy(m.layer)) for m in network.modules() if isinstance(m, (_InFloat32, _Restored))]
        self.network, self.kind = network.to(kind), kind
        for module, layer in kept:
            module.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float32 (N, 3, H, W) -> logits float32."""
        return self.network(image.to(self.kind)).to(torch.float32)  # type: ignore[no-any-return]


class _InFloat32(nn.Module):
    """A layer that stays in float32 amid lower ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(torch.float32)).to(x.dtype)  # type: ignore[no-any-return]


class _Restored(nn.Module):
    """A layer in float32 whose result stays in float32."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(torch.float32))  # type: ignore[no-any-return]


class _InLow(nn.Module):
    """A layer in the low type that may be given float32."""

    def __init__(self, layer: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.layer, self.kind = layer, kind

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(self.kind))  # type: ignore[no-any-return]


class _Affine(nn.Module):
    """Batch normalisation in evaluation mode, as a factor and a term for each channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.register_buffer("scale", scale.detach().view(1, -1, 1, 1))
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).detach().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _restore(network: nn.Module, restored: Collection[str], kind: torch.dtype) -> None:
    """The restored layers in float32, and a cast before every other one."""
    kept = KEPT["bf16"] if kind == torch.bfloat16 else KEPT["fp16"]
    for name, layer in list(network.named_modules()):
        if isinstance(layer, _WEIGHTED) and not (isinstance(layer, kept) and name not in restored):
            parent, _, own = name.rpartition(".")
            wrapped = _Restored(layer) if name in restored else _InLow(layer, kind)
            setattr(network.get_submodule(parent), own, wrapped)


def _keep(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kinds) and not isinstance(parent, _Restored):
                setattr(parent, name, _InFloat32(child))


def _folded(network: nn.Module, example: Tensor) -> nn.Module:
    """Batch normalisation right behind a convolution becomes part of it, any other a factor and a term; changes `network`."""
    with torch.inference_mode():
        expected = network(example)
    pairs = _pairs(network, example)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                if child in pairs:
                    _fold(pairs[child], child)
                setattr(parent, name, nn.Identity() if child in pairs else _Affine(child))
    with torch.inference_mode():
        apart = (network(example) - expected).abs().max()
    if not apart <= MAX_FOLDING_DIFFERENCE * expected.abs().max():
        raise ExportError(
            f"folding batch normalisation moves the logits by {float(apart):.3g}; this is a fault of dlcv: report it, and export with --precision fp32"
        )
    return network


def _pairs(network: nn.Module, example: Tensor) -> dict[nn.Module, nn.Conv2d]:
    """Each batch normalisation whose input is the very tensor that a convolution gave, with that convolution."""
    gave: list[tuple[Tensor, nn.Conv2d]] = []  # the tensors are kept, so that no other takes the place of one
    pairs: dict[nn.Module, nn.Conv2d] = {}

    def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            gave.append((output, module))
        else:
            for tensor, conv in gave:
                if tensor is inputs[0]:
                    pairs[module] = conv

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [module.register_forward_hook(seen) for module in network.modules() if isinstance(module, kinds)]
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    return pairs


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
