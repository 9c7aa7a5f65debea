"""The picture of the first layer's weights, and the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dlcv.train.explain.figures.weights import MOST_SHOWN, weights_figure
from dlcv.train.explain.layers import Layer
from dlcv.train.explain.subject import Subject
from dlcv.train.explain.tables import write_arrays
from dlcv.train.pictures.picture import Picture
from dlcv.train.pictures.style import write_png

NAME = "first-layer"


def draw_weights(subject: Subject, layers: Sequence[Layer], folder: Path, say: Callable[[str], None]) -> list[Picture]:
    """Writes `first-layer.png` and `first-layer.npz` (`weights`, float32 (filters, 3, k, k), for normalised RGB).

    Returns:
        The picture; none, which `say` tells, where the first layer does not read three channels.
    """
    first = next((layer for layer in layers if layer.kind == "Conv2d"), None)
    weight = dict(subject.model.named_parameters()).get(f"{first.name}.weight") if first else None
    if first is None or weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        say(f"{subject.card.model}: no picture of first-layer weights, the first layer reads no RGB image")
        return []
    weights = weight.detach().float().cpu().numpy().astype(np.float32)
    png, data = folder / f"{NAME}.png", folder / f"{NAME}.npz"
    write_arrays(data, {"weights": weights})
    shown, size = min(len(weights), MOST_SHOWN), "x".join(map(str, weights.shape[2:]))
    write_png(weights_figure(weights, f"{first.name}: {shown} filters of {size} pixels"), png, exact=True)
    caption = (
        f"The weights of {first.name} as colours, {shown} of {len(weights)} filters, each on its own scale: grey is 0, a red spot "
        "answers to red there. Edges and colour spots are what a trained network has; noise without structure is what training has "
        "hardly changed."
    )
    return [Picture(NAME, "First-layer weights", caption, png, data)]
