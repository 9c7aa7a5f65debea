"""The k checkpoints with the lowest validation loss, kept beside a run for an ensemble: `kept/epoch-0007.pt`. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

FOLDER = "kept"


def kept_files(run: Path) -> list[Path]:
    """The checkpoints that lie in a run's folder of them."""
    return sorted((run / FOLDER).glob("epoch-*.pt"))


class KeptCheckpoints:
    """Keeps at most `count` checkpoints; an equal loss does not replace an older one.

    Args:
        run: the run's folder.
        count: how many; 0 keeps none.
        losses: (validation loss, epoch) of those that a resumed run had kept; one whose file is gone no longer counts.
    """

    def __init__(self, run: Path, count: int, losses: Sequence[tuple[float, int]] = ()) -> None:
        self._folder, self._count = run / FOLDER, count
        known = sorted((float(loss), int(epoch)) for loss, epoch in losses)
        self.losses = [(loss, epoch) for loss, epoch in known if self._path(epoch).is_file()][:count]

    @property
    def paths(self) -> list[Path]:
        """The checkpoints, the lowest loss first."""
        return [self._path(epoch) for _, epoch in self.losses]

    def offer(self, loss: float, epoch: int, save: Callable[[Path], None]) -> None:
        """Keeps an epoch's checkpoint when its loss is among the lowest; it is written before a worse one goes.

        Args:
            loss: on validation; nan is never kept.
            epoch: from 1.
            save: writes the checkpoint to a path, whole.
        """
        ranked = sorted([*self.losses, (loss, epoch)])[: self._count] if loss == loss else self.losses
        if (loss, epoch) in ranked:
            self._folder.mkdir(exist_ok=True)
            save(self._path(epoch))
        self.losses = ranked

    def clear_up(self) -> None:
        """Removes what is no longer among the lowest; called when the run's position that says so is saved."""
        wanted = set(self.paths)
        for path in kept_files(self._folder.parent):
            if path not in wanted:
                path.unlink()

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}.pt"
