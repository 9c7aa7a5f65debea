"""Loss and confusion matrix on validation tiles, fitted to the model's size just as the runtime fits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcv.runtime.datasets.description import DatasetDescription
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.errors import DlcvError
from dlcv.runtime.fitting import fit_tile
from dlcv.runtime.metrics import confusion_matrix
from dlcv.train.data.tiles import read_pair
from dlcv.train.session import TorchSession


def validate(
    session: TorchSession,
    pairs: Sequence[Pair],
    description: DatasetDescription,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[float, NDArray[np.int64]]:
    """Runs `session` over labelled tiles at their own sizes.

    Args:
        loss: logits float (1, C, H, W) and labels int64 (1, H, W) -> mean.
        batch: windows that go through the model at once.
        advance: called with the number of tiles done since the last call.

    Returns:
        The mean of the tiles' losses, and the confusion matrix, int64 (C, C), rows true. A tile all of whose classes have
        the weight 0 (none is in the training labels) has no loss and is left out of the mean; nan when no tile is left.

    Raises:
        DlcvError: when an output is not a finite number.
        DatasetError: when a tile or its label cannot be read.
    """
    classes = len(description.classes)
    confusion, losses = np.zeros((classes, classes), np.int64), []
    for pair in pairs:
        image_rgb, label = read_pair(pair, description)
        tile = fit_tile(image_rgb, session.card.input_size_hw, session.card.fit)
        windows = np.stack(tile.windows)
        logits = [session.run(windows[k : k + batch])["logits"] for k in range(0, len(windows), batch)]
        joined = np.ascontiguousarray(tile.join(list(np.concatenate(logits))))  # (C, H, W)
        if not np.isfinite(joined).all():  # their argmax would still be a valid class
            raise DlcvError(f"the outputs for {pair.image} are not numbers; try a smaller --learning-rate")
        target = torch.from_numpy(label.astype(np.int64))[None]
        losses.append(float(loss(torch.from_numpy(joined)[None], target)))
        confusion += confusion_matrix(label, joined.argmax(0).astype(np.uint8), classes)
        advance(1)
    counted = [value for value in losses if not math.isnan(value)]
    return float(np.mean(counted)) if counted else math.nan, confusion
