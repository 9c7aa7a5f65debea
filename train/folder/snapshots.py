"""Masks of a few validation tiles at chosen epochs, kept in the run's folder: `snapshots/epoch-0010/TILE.png`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.datasets.text_rows import shown
from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import make_folder, remove_file, remove_partials
from dlcv.runtime.masks import write_mask
from dlcv.runtime.scoring.evaluation import answer_images
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
    for epoch, folder in _epoch_folders(run):
        files = sorted(folder.rglob("*.png"))
        found[epoch] = {path.relative_to(folder).as_posix()[:-4]: path for path in files}
    return {epoch: tiles for epoch, tiles in sorted(found.items()) if tiles}


def forget_snapshots(run: Path) -> None:
    """Removes the masks that an older run in the folder has kept, and folders that are empty then; nothing else."""
    for path in (path for tiles in snapshot_files(run).values() for path in tiles.values()):
        remove_file(path)
    folders = [run / FOLDER]
    for _, folder in _epoch_folders(run):
        folders += [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for folder in sorted(folders, reverse=True):  # those inside a folder come before it
        remove_partials(folder)
        with suppress(OSError):  # something else lies there
            folder.rmdir()


def _epoch_folders(run: Path) -> list[tuple[int, Path]]:
    folders = [(re.fullmatch(r"epoch-([0-9]+)", path.name), path) for path in sorted((run / FOLDER).glob("epoch-*"))]
    return [(int(number[1]), path) for number, path in folders if number and path.is_dir()]


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
        self._at_end = "last" in map(str.strip, wanted.split(","))
        self._tiles = snapshot_tiles(validation, tiles) if wanted else validation.with_examples(())

    def wants(self, epoch: int, *, ended: bool = False) -> bool:
        """Whether the masks of this epoch are to be kept; `ended` when no epoch follows, which may be before the last."""
        asked = epoch in self._epochs or (ended and self._at_end)
        return (
            asked
            and epoch > 0
            and not (ended and all(self._file(epoch, tile).is_file() for tile in self._tiles.examples))
        )

    def take(self, session: Session, epoch: int) -> None:
        """Keeps what a session says about the tiles now.

        Raises:
            OutputError: when a file cannot be written.
            DatasetError: when a tile cannot be read.
        """
        for tile in self._tiles.examples:
            answered = answer_images(session, [self._tiles.image(tile)], batch=1)[0]
            path = self._file(epoch, tile)
            make_folder(path.parent)
            write_mask(path, answered.answer, self._card.palette, level=9)

    def _file(self, epoch: int, tile: Example) -> Path:
        return self._run / FOLDER / f"epoch-{epoch:04d}" / f"{tile.name}.png"
