"""What is to be drawn, and how much of it. No torch: a command reads it for its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from dlcv.runtime.errors import UsageError

KINDS = ("weights", "tsne", "saliency", "filters")

MIN_POINTS = 5
"""Below that t-SNE has no neighbours to keep."""


@dataclass(frozen=True)
class ExplainOptions:
    """Which feature pictures, of how many images and filters.

    Attributes:
        kinds: a choice of `KINDS`.
        images: at most so many images are read for t-SNE and for the filters; 0: 1000, or 200 tiles for segmentation.
        points: at most so many points for t-SNE.
        saliency_images: how many images are shown with their saliency.
        smooth: noisy copies that SmoothGrad averages the gradient over; 0: the plain gradient.
        layers: names of convolutions or linear layers; empty: the first convolution, a middle and the last one.
        filters: how many filters of a layer are shown.
        top: images shown beside each filter.
        steps: of gradient ascent towards a filter's input.
        seed: of the choice of images, of t-SNE, of the noise.
        device: `auto`, `cpu`, `cuda` or any device that torch names.
    """

    kinds: tuple[str, ...] = KINDS
    images: int = 0
    points: int = 1000
    saliency_images: int = 6
    smooth: int = 0
    layers: tuple[str, ...] = ()
    filters: int = 6
    top: int = 5
    steps: int = 128
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Raises UsageError for an unknown kind or a number out of range; tells all of them at once."""
        problems = [
            f"unknown kind {kind!r}, expected some of {', '.join(KINDS)}" for kind in self.kinds if kind not in KINDS
        ]
        least = {
            "images": 0,
            "points": MIN_POINTS,
            "saliency_images": 1,
            "smooth": 0,
            "filters": 1,
            "top": 1,
            "steps": 1,
            "seed": 0,
        }
        most = {"saliency_images": 32, "filters": 64, "top": 32}
        for name, low in least.items():
            value = getattr(self, name)
            if value < low or value > most.get(name, value):
                to = f" to {most[name]}" if name in most else " or more"
                problems.append(f"{name} is {value}, expected {low}{to}")
        if problems:
            raise UsageError("feature pictures: " + "; ".join(problems))
