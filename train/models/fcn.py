"""Fully convolutional networks on VGG16: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation",
CVPR 2015. The head is the 2 x 2 one: fc6 a 2 x 2 convolution with "same" padding, fc7 a 1 x 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcv.train.models.vgg import POOL3_END, POOL4_END, POOL5_END, scaled, vgg16_features

FC_CHANNELS = 4096


def bilinear_weight(channels: int, kernel: int) -> Tensor:
    """Weight of a transposed convolution that upsamples each channel bilinearly (Long et al. 2015, section 3.3).

    Returns:
        float32 (channels, channels, kernel, kernel), zero between different channels.
    """
    factor = (kernel + 1) // 2
    centre = factor - 1.0 if kernel % 2 else factor - 0.5
    line = 1 - (torch.arange(kernel, dtype=torch.float32) - centre).abs() / factor
    weight = torch.zeros(channels, channels, kernel, kernel)
    weight[range(channels), range(channels)] = line[:, None] * line[None, :]
    return weight


def upsampling(classes: int, factor: int) -> nn.ConvTranspose2d:
    """Upsamples by exactly `factor`: kernel 2 x factor, no bias, learned from a bilinear start."""
    layer = nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(bilinear_weight(classes, 2 * factor))
    return layer


class _VggHead(nn.Module):
    """What both systems share: VGG16's features and the 2 x 2 head's scores at stride 32."""

    size_divisor = 32

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        self.features = vgg16_features(width)
        self.fc6 = nn.Conv2d(scaled(512, width), scaled(FC_CHANNELS, width), 2)
        self.fc7 = nn.Conv2d(scaled(FC_CHANNELS, width), scaled(FC_CHANNELS, width), 1)
        self.score = nn.Conv2d(scaled(FC_CHANNELS, width), classes, 1)
        self.same = nn.ZeroPad2d((0, 1, 0, 1))  # "same" for a 2 x 2 kernel: one column right, one row below
        initialise(self)

    def scores(self, pool5: Tensor) -> Tensor:
        """float (N, C5, h, w) -> float (N, classes, h, w)."""
        x = torch.relu(self.fc6(self.same(pool5)))
        return self.score(torch.relu(self.fc7(x)))  # type: ignore[no-any-return]


class Fcn32s(_VggHead):
    """FCN-32s: one transposed convolution 64 x 64 with stride 32 brings the scores to the image's size."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width)
        self.up32 = upsampling(classes, 32)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 32 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        return self.up32(self.scores(self.features(image)))  # type: ignore[no-any-return]


class Fcn8s(_VggHead):
    """FCN-8s: the scores join those of pool4 at stride 16 and of pool3 at stride 8, then go up by 8."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width)
        self.score_pool4 = nn.Conv2d(scaled(512, width), classes, 1)
        self.score_pool3 = nn.Conv2d(scaled(256, width), classes, 1)
        for skip in (self.score_pool4, self.score_pool3):
            nn.init.zeros_(skip.weight)  # as in the paper: the net starts as FCN-32s and learns the detail
            nn.init.zeros_(skip.bias)  # type: ignore[arg-type]
        self.up_pool5 = upsampling(classes, 2)
        self.up_pool4 = upsampling(classes, 2)
        self.up8 = upsampling(classes, 8)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 32 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        pool3 = self.features[:POOL3_END](image)  # (N, 256, H/8, W/8)
        pool4 = self.features[POOL3_END:POOL4_END](pool3)  # (N, 512, H/16, W/16)
        pool5 = self.features[POOL4_END:POOL5_END](pool4)  # (N, 512, H/32, W/32)
        x = self.up_pool5(self.scores(pool5)) + self.score_pool4(pool4)  # (N, classes, H/16, W/16)
        x = self.up_pool4(x) + self.score_pool3(pool3)  # (N, classes, H/8, W/8)
        return self.up8(x)  # type: ignore[no-any-return]


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
