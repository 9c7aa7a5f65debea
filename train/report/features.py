"""The one place where a report asks for pictures of features: weights, t-SNE, saliency, filters (`train/explain/`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import MissingPackageError
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.pictures.picture import Picture


def feature_pictures(
    checkpoint: Path, data: LabelledSet[Any], folder: Path, options: ExplainOptions, say: Callable[[str], None]
) -> list[Picture]:
    """Pictures of what a network has learned.

    Args:
        checkpoint: a run's `best.pt`.
        data: labelled images to explain it on.
        folder: takes them; made if it is missing.
        options: which and how much, and on what device.
        say: takes lines for people.

    Raises:
        MissingPackageError: when what they need is missing.
    """
    try:
        from dlcv.train.explain.run import explain
    except ModuleNotFoundError as error:
        raise MissingPackageError(str(error.name), "draw features", "pip install 'dlcv-edge[report]'") from error
    return list(explain(checkpoint, data, folder, options, say))
