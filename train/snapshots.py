"""Masks of a few validation tiles at chosen epochs, kept in the run's folder: `snapshots/epoch-0010/TILE.png`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.classes.text_rows import shown
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError
from dlcv.runtime.evaluation import answer_images
from dlcv.runtime.files import make_folder
from dlcv.runtime.outputs.masks import write_mask
from dlcv.runtime.sessions.base import Session

FOLDER = "snapshots"
DEFAULT_EPOCHS = "1,middle,last"
"""Where tiles are asked for and no epochs."""
DEFAULT_TILES = 4
"""Where epochs are asked for and no tiles: so many, evenly spaced."""


def snapshot_epochs(text: str, epochs: int) -> set[int]:
    """`1,10,middle,last` as epochs of a run of `epochs`; those beyond its end are left out.

    Raises:
        UsageError: for anything else.
    """
    words = {"middle": (epochs + 1) // 2, "last": epochs}
    found = set()
    for word in filter(None, map(str.strip, text.split(","))):
        if word not in words and not re.fullmatch(r"[1-9][0-9]*", word):
            raise UsageError(f"--snapshot-epochs {text}: {shown(word)} is no epoch; expected such as {DEFAULT_EPOCHS}")
        found.add(words[word] if word in words else int(word))
    return {epoch for epoch in found if epoch <= epochs}


def snapshot_tiles(validation: LabelledSet[Any], names: Sequence[str]) -> LabelledSet[Any]:
    """The tiles of these names, in their order; without names a few, evenly spaced.

    Raises:
        UsageError: when no validation tile has that name, or several have (in several folders).
    """
    if not names:
        return validation.evenly(DEFAULT_TILES)
    known = {str(example.name): example for example in validation.examples}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"--snapshot-tiles: no validation tile is called {', '.join(map(shown, unknown))}; there is {shown(next(iter(known)))}, "
            "and split.csv of a run lists all"
        )
    return validation.with_examples([known[name] for name in dict.fromkeys(names)])


def snapshot_files(run: Path) -> dict[int, dict[str, Path]]:
    """Epoch -> tile -> the mask's file, of what a run has kept, in order."""
    found: dict[int, dict[str, Path]] = {}
    for folder in sorted((run / FOLDER).glob("epoch-*")):
        if number := re.fullmatch(r"epoch-([0-9]+)", folder.name):
            files = sorted(folder.rglob("*.png"))
            found[int(number[1])] = {path.relative_to(folder).as_posix()[:-4]: path for path in files}
    return {epoch: tiles for epoch, tiles in sorted(found.items()) if tiles}


def forget_snapshots(run: Path) -> None:
    """Removes what an older run in the folder has kept."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


class Snapshots:
    """Keeps masks while a run trains.

    Args:
        run: the run's folder.
        card: palette, and how tiles are fitted.
        validation: the tiles to choose from.
        epochs, tiles: as the settings have them; nothing is kept when both are empty.
        last: the run's last epoch.

    Raises:
        UsageError: when an epoch or a tile is none.
    """

    def __init__(
        self, run: Path, card: ModelCard, validation: LabelledSet[Any], epochs: str, tiles: Sequence[str], last: int
    ) -> None:
        self._run, self._card = run, card
        wanted = epochs or (DEFAULT_EPOCHS if tiles else "")
        self._epochs = snapshot_epochs(wanted, last)
        self._at_end = "last" in wanted.split(",")
        self._tiles = snapshot_tiles(validation, tiles) if wanted else validation.with_examples(())

    def wants(self, epoch: int, *, ended: bool = False) -> bool:
        """Whether the masks of this epoch are to be kept; `ended` when no epoch follows, which may be before the last."""
        asked = epoch in self._epochs or (ended and self._at_end)
        return asked and epoch > 0 and not (ended and self._folder(epoch).is_dir())

    def take(self, session: Session, epoch: int) -> None:
        """Keeps what a session says about the tiles now.

        Raises:
            OutputError: when a file cannot be written.
            DatasetError: when a tile cannot be read.
        """
        for tile in self._tiles.examples:
            answered = answer_images(session, [self._tiles.image(tile)], batch=1)[0]
            path = self._folder(epoch) / f"{tile.name}.png"
            make_folder(path.parent)
            write_mask(path, answered.answer, self._card.palette, level=9)

    def _folder(self, epoch: int) -> Path:
        return self._run / FOLDER / f"epoch-{epoch:04d}"
