"""Fully convolutional networks on VGG16: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation",
CVPR 2015. Four systems, which differ in the kernel of fc6, the dropout behind fc6 and fc7, and the way up to the image's size:

    Fcn32s      2 x 2   none                 64 x 64 with stride 32, its padding cuts the border
    Fcn32sFc7x7 7 x 7   of single values     the same
    Fcn32sFc1x1 1 x 1   of whole channels    64 x 64 with stride 32, the border is cropped afterwards
    Fcn8s       2 x 2   none                 in three steps, with the scores of pool4 and pool3
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dlcv.train.models.layers import initialise, require_multiple, scaled
from dlcv.train.models.vgg import POOL3_END, POOL4_END, POOL5_END, convolutions_from_vgg16, vgg16_features

FC_CHANNELS = 4096


class VggScores(nn.Module):
    """What all four share: VGG16's features and the head's scores at stride 32."""

    size_divisor = 32

    def __init__(self, classes: int, width: float, kernel: int, dropout: nn.Module | None = None) -> None:
        super().__init__()
        self.features = vgg16_features(width)
        self.fc6 = nn.Conv2d(scaled(512, width), scaled(FC_CHANNELS, width), kernel, padding=(kernel - 1) // 2)
        self.fc7 = nn.Conv2d(scaled(FC_CHANNELS, width), scaled(FC_CHANNELS, width), 1)
        self.score = nn.Conv2d(scaled(FC_CHANNELS, width), classes, 1)
        # "same" for a 2 x 2 kernel: one column right, one row below
        self.same = nn.ZeroPad2d((0, 1, 0, 1)) if kernel % 2 == 0 else nn.Identity()
        self.drop = dropout or nn.Identity()
        initialise(self)

    def scores(self, pool5: Tensor) -> Tensor:
        """float (N, C5, h, w) -> float (N, classes, h, w)."""
        x = self.drop(torch.relu(self.fc6(self.same(pool5))))
        return self.score(self.drop(torch.relu(self.fc7(x))))  # type: ignore[no-any-return]


class Fcn32s(VggScores):
    """FCN-32s of Long et al. 2015 with a 2 x 2 fc6: one transposed convolution brings the scores to the image's size."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width, kernel=2)
        self.up32 = upsampling(classes, 32)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 32 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        return self.up32(self.scores(self.features(image)))  # type: ignore[no-any-return]


class Fcn32sFc7x7(VggScores):
    """FCN-32s of Long et al. 2015 with VGG16's own 7 x 7 fc6: the fully connected layers of a published VGG16 fit it."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width, kernel=7, dropout=nn.Dropout(0.5))
        self.up32 = upsampling(classes, 32)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 32 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        return self.up32(self.scores(self.features(image)))  # type: ignore[no-any-return]

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published VGG16's tensors under this model's names: see `convolutions_from_vgg16`."""
        return convolutions_from_vgg16(state)


class Fcn32sFc1x1(VggScores):
    """FCN-32s of Long et al. 2015 with a 1 x 1 fc6, and dropout of whole channels (Tompson et al., "Efficient Object
    Localization Using Convolutional Networks", CVPR 2015).
    """

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width, kernel=1, dropout=nn.Dropout2d(0.5))
        self.up32 = upsampling(classes, 32, padding=0)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 32 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        up = self.up32(self.scores(self.features(image)))  # (N, classes, H + 32, W + 32)
        return up[..., 16:-16, 16:-16]  # type: ignore[no-any-return]


class Fcn8s(VggScores):
    """FCN-8s of Long et al. 2015: the scores join those of pool4 at stride 16 and of pool3 at stride 8, then go up by 8."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__(classes, width, kernel=2)
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


def upsampling(classes: int, factor: int, padding: int | None = None) -> nn.ConvTranspose2d:
    """Upsamples by `factor`: kernel 2 x factor, no bias, learned from a bilinear start.

    Args:
        padding: pixels cut from each side; the default, factor / 2, gives exactly `factor` times the size.
    """
    cut = factor // 2 if padding is None else padding
    layer = nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, padding=cut, bias=False)
    with torch.no_grad():
        layer.weight.copy_(bilinear_weight(classes, 2 * factor))
    return layer


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
