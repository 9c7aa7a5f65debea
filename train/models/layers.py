"""What several models share: the width factor, He's initialisation, and the refusal of sizes that pooling would cut."""

from __future__ import annotations

from torch import Tensor, nn


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 (GPU matrix units work in eights), at least 8."""
    return channels if width == 1.0 else max(8, 8 * round(channels * width / 8))


def initialise(module: nn.Module) -> None:
    """He et al. 2015 ("Delving Deep into Rectifiers"), for convolutions that ReLU follows; biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def require_multiple(image: Tensor, divisor: int) -> None:
    """Refuses a size that pooling would cut.

    Raises:
        ValueError: names the divisor and the padded size to use.
    """
    height, width = image.shape[-2:]
    if height % divisor or width % divisor:
        padded = (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
        raise ValueError(
            f"image is {height} x {width}, expected multiples of {divisor}; pad it to {padded[0]} x {padded[1]}"
        )


def require_at_least(image: Tensor, smallest: int) -> None:
    """Refuses an image of which the poolings leave nothing.

    Raises:
        ValueError: names the smallest size.
    """
    height, width = image.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(f"image is {height} x {width}, expected at least {smallest} x {smallest}; enlarge it")
