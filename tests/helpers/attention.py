"""A network of one attention, at sizes that vary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcv.runtime.card.card import ModelCard, SizeRange

CARD = ModelCard(
    model="attention", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), input_size_hw=(16, 24),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="logits",
    size_range=SizeRange((16, 16), (64, 64), 8),
)  # fmt: skip


class Attention(nn.Module):
    """Each of the h x w places looks at all others, by two matrix products whose sides are h x w."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 8, 8, stride=8), nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        found = self.before(image)
        count, channels, height, width = found.shape
        places = found.reshape(count, channels, height * width)
        weights = torch.softmax(places.transpose(1, 2) @ places, -1)
        joined = (places @ weights.transpose(1, 2)).reshape(count, channels, height, width)
        return nn.functional.interpolate(self.after(joined), scale_factor=8.0)
