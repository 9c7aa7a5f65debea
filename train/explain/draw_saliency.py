"""The picture of saliency, and the maps as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.progress import Progress
from dlcv.train.explain.figures.saliency import saliency_figure
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.explain.saliency import saliency
from dlcv.train.explain.subject import Subject, view_of
from dlcv.train.explain.tables import write_arrays
from dlcv.train.pictures.picture import Picture
from dlcv.train.pictures.style import write_png

NAME = "saliency"


def draw_saliency(
    subject: Subject, data: LabelledSet[Any], examples: Sequence[Example], folder: Path, options: ExplainOptions
) -> list[Picture]:
    """Writes `saliency.png` and `saliency.npz`.

    The archive holds `saliency` float32 (n, H, W) in logits a level of 8-bit brightness, `region` bool (n, H, W), `names` and
    `classes` (of the score), text.

    Raises:
        DatasetError: when an image or its label cannot be read.
        OutputError: when a file cannot be written.
    """
    with Progress(len(examples), "saliency") as progress:
        found = []
        for example in examples:
            view = view_of(data, example, subject.card)
            found.append(saliency(subject, view, smooth=options.smooth, seed=options.seed))
            progress.advance()
    png, archive = folder / f"{NAME}.png", folder / f"{NAME}.npz"
    write_arrays(
        archive,
        {
            "saliency": np.stack([one.map for one in found]),
            "region": np.stack([one.region for one in found]),
            "names": np.array([one.view.name for one in found]),
            "classes": np.array([data.classes[one.target] for one in found]),
        },
    )
    write_png(saliency_figure(found, data.classes, f"{subject.card.model}: what moves the score"), png, exact=True)
    return [Picture(NAME, "Saliency", caption_of(data.task, options.smooth), png, archive)]


def caption_of(task: str, smooth: int) -> str:
    """Which score, which gradient, how it is drawn."""
    score = "the class that the model gives the image; a question mark where the label says another"
    if task == "segmentation":
        score = "the class that it gives most of the tile (its share above), summed over those pixels, which the middle row shows"
    how = f", averaged over {smooth} noisy copies (SmoothGrad)" if smooth else ""
    return (
        f"Bright pixels are those whose change would move the score most: the logit of {score}. The largest over the channels of the "
        f"gradient's absolute value{how}; each map has its own scale."
    )
