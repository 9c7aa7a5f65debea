"""TensorBoard's event files of a run: what stands in `history.csv`, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from dlcv.runtime.errors import MissingPackageError

FOLDER = "tensorboard"


class EventFiles:
    """Writes scalars into `tensorboard/` of a run; the step is the epoch.

    Args:
        run: the run's folder; nothing is written before the first epoch ends.

    Raises:
        MissingPackageError: when tensorboard is missing.
    """

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            command = "pip install 'dlcv-edge[tensorboard]'"
            raise MissingPackageError("tensorboard", "write event files (--tensorboard)", command) from error
        self._make, self._folder = SummaryWriter, run / FOLDER
        self._writer: SummaryWriter | None = None

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Writes an epoch's values by their names, `loss/train` and the like; nan is left out, which has no place on a plot.

        What files of an earlier process say about this epoch and later ones, which a resumed run repeats, counts no more.
        """
        if self._writer is None:
            self._writer = self._make(str(self._folder), purge_step=epoch)
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()  # a killed run loses nothing

    def close(self) -> None:
        """After the last epoch."""
        if self._writer is not None:
            self._writer.close()


def forget_events(run: Path) -> None:
    """Removes event files of an older run in the folder; nothing else."""
    for path in (run / FOLDER).glob("events.out.tfevents.*"):
        path.unlink()
