"""The graph that is exported: what a decoder gives in, what a writer needs out.

`image` uint8 (N, H, W, 3), RGB -> float32 -> (N, 3, H, W) -> normalisation in float32 -> network -> head. The cast comes first
because TensorRT's parser refuses a transpose of uint8. The mask's tail is ArgMax -> float32 -> uint8, because full TensorRT
converts to uint8 from floating types only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

HEADS = {
    "mask": "class indices uint8 (N, H, W), of segmentation: the least to copy back",
    "probs": "softmax float32 (N, C, H, W) or (N, C): for blending and ensembles, and what classification asks for",
    "logits": "float32 (N, C, H, W) or (N, C), as the network gives them",
}
DEFAULT_HEAD = {"segmentation": "mask", "classification": "probs"}
"""By task."""


class ExportGraph(nn.Module):
    """A network wrapped into the contract of an exported graph.

    Args:
        network: takes normalised float (N, 3, H, W), returns logits (N, C, H, W) for segmentation, (N, C) for classification.
        mean_rgb, std_rgb: in 8-bit levels (0..255), as on the card.
        head: a key of `HEADS`; `mask` for segmentation alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean_rgb: Sequence[float], std_rgb: Sequence[float], head: str) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.register_buffer("mean", torch.tensor(mean_rgb, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std_rgb, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) -> the head's output."""
        # contiguous: while torch's exporter sees channels-last memory, it writes global pooling as a gather of computed places
        x = image.to(torch.float32).permute(0, 3, 1, 2).contiguous()  # (N, 3, H, W)
        logits: Tensor = self.network((x - self.mean) / self.std)  # (N, C, H, W) or (N, C)
        if self.head == "mask":
            return logits.argmax(1).to(torch.float32).to(torch.uint8)  # (N, H, W)
        return logits.softmax(1) if self.head == "probs" else logits
