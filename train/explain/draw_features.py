"""The picture of the features: t-SNE, and its points as a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import DlcvError
from dlcv.train.explain.figures.tsne import tsne_figure
from dlcv.train.explain.observation import LEAST_SHARE, Features
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.explain.subject import Subject
from dlcv.train.explain.tsne import NEIGHBOURS, Embedding, embed
from dlcv.train.pictures.keep import keep
from dlcv.train.pictures.picture import Picture

NAME = "tsne"
HEADER = ("x", "y", "name", "class", "predicted", "share_of_image")


def draw_tsne(
    subject: Subject,
    data: LabelledSet[Any],
    features: Features,
    folder: Path,
    options: ExplainOptions,
    say: Callable[[str], None],
) -> list[Picture]:
    """Writes `tsne.png` and `tsne.csv`, a row a point.

    Returns:
        The picture; none, which `say` tells, where there are too few points or all features are the same.

    Raises:
        OutputError: when a file cannot be written.
        MissingPackageError: without matplotlib or scikit-learn.
    """
    try:
        embedding = embed(features, most=options.points, seed=options.seed)
    except DlcvError as error:
        if type(error) is not DlcvError:  # a missing package is not the data's fault
            raise
        say(f"no t-SNE: {error}")
        return []
    labels, predicted = np.array(features.labels)[embedding.rows], np.array(features.predicted)[embedding.rows]
    rows = [
        (float(x), float(y), features.names[k], data.classes[label], data.classes[said], features.share[k])
        for (x, y), k, label, said in zip(embedding.points, embedding.rows, labels, predicted, strict=True)
    ]
    kind = "regions" if data.task == "segmentation" else "images"
    title = f"{subject.card.model}: features of {len(rows)} {kind}"
    figure = tsne_figure(embedding.points, labels, predicted == labels, data.classes, title)
    caption = caption_of(embedding, data)
    return [keep(folder, NAME, figure, title="Features by class (t-SNE)", caption=caption, table=(HEADER, rows))]


def caption_of(embedding: Embedding, data: LabelledSet[Any]) -> str:
    """What the points are, how they were chosen, and what may be read from them."""
    count = len(embedding.rows)
    if data.task == "segmentation":
        what = f"A point is the mean feature, before the classifier, of a class's labelled pixels in a tile (from {LEAST_SHARE:.0%} of it on)"
        what += "; uncounted classes are left out" if data.uncounted else ""
    else:
        what = "A point is an image, by the features that the classifier reads"
    some = f"{count} of {embedding.of}, as many of each class as of any other where there are enough"
    chosen = some if count < embedding.of else f"all {count}"
    first = f"PCA to {embedding.components}, then t-SNE" if embedding.components else "t-SNE"
    return (
        f"{what}: {chosen}. {first} with perplexity {embedding.perplexity:.3g}. In the features themselves "
        f"{embedding.same_class:.0%} of a point's {NEIGHBOURS} nearest are of its class. Near points have like features; distances "
        "between groups, and their sizes, mean nothing."
    )
