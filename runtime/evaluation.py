"""An engine on labelled tiles: the confusion matrix, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.description import DatasetDescription, known_descriptions, load_description
from dlcv.runtime.datasets.labels import check_sizes, read_label
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.decode import decode_file
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.metrics import confusion_matrix
from dlcv.runtime.pipeline import Outcome, Pipeline, PipelineSettings
from dlcv.runtime.progress import Progress
from dlcv.runtime.sessions import Session

DESCRIPTION_NAME = "dataset.json"
"""A description that stands beside the tiles themselves, as in a run's probe."""


def evaluate(
    session: Session,
    pairs: Sequence[Pair],
    description: DatasetDescription,
    settings: PipelineSettings,
    *,
    quiet: bool = False,
) -> NDArray[np.int64]:
    """Pixels by true (row) and predicted (column) class over all pairs: int64 (classes, classes).

    Raises:
        DatasetError: when the classes are not the engine's, or a tile or its label cannot be read.
    """
    require_same_classes(session.card, description)
    classes = len(description.classes)
    total = np.zeros((classes, classes), np.int64)

    def finish(pair: Pair, mask: NDArray[np.uint8]) -> NDArray[np.int64]:
        label = read_label(pair, description)
        if label.shape != mask.shape:
            check_sizes(np.broadcast_to(mask[..., None], (*mask.shape, 3)), label, pair)
        return confusion_matrix(label, mask, classes)

    pipeline: Pipeline[Pair, NDArray[np.int64]] = Pipeline(
        session, lambda pair: decode_file(pair.image), finish, settings
    )
    with Progress(len(pairs), "evaluating", quiet=quiet) as progress:

        def report(outcome: Outcome[Pair, NDArray[np.int64]]) -> None:
            nonlocal total
            if outcome.result is None:
                raise DatasetError(f"{outcome.tile.image}: {outcome.error}")
            total += outcome.result
            progress.advance()

        pipeline.run(pairs, report)
    return total


def require_same_classes(card: ModelCard, description: DatasetDescription) -> None:
    """Labels and engine must speak of the same classes.

    Raises:
        DatasetError: tells both lists.
    """
    if card.classes != description.classes:
        raise DatasetError(
            f"the engine's classes are {', '.join(card.classes)}, those of dataset {description.name} are {', '.join(description.classes)}; "
            "pass the dataset that the model was trained on with --dataset"
        )


def find_description(name_or_file: str | None, data: Path, card: ModelCard) -> DatasetDescription:
    """The description that was asked for; else the one beside the tiles; else the one that ships for the card's classes.

    Raises:
        DatasetError: when none of these is there.
    """
    if name_or_file:
        return load_description(name_or_file)
    if (data / DESCRIPTION_NAME).is_file():
        return load_description(str(data / DESCRIPTION_NAME))
    for name in known_descriptions():
        description = load_description(name)
        if description.classes == card.classes:
            return description
    raise DatasetError(
        f"no dataset that ships has the classes of this model ({', '.join(card.classes)}); describe its masks in a JSON file and pass --dataset FILE.json"
    )
