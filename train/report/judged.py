"""A run's best checkpoint on labelled images, by the project's own evaluation: the confusion matrix, and a few tiles' masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.datasets.text_rows import shown
from dlcv.runtime.errors import DatasetError, DlcvError, TileError, UsageError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.metrics import Scores
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.scoring.evaluation import NOUNS, answer_images, evaluate, one_class_note
from dlcv.train.checkpoints.checkpoint import masks_of, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession, torch_device
from dlcv.train.folder.names import PROBE_FOLDER, SPLIT_NAME
from dlcv.train.folder.probe import read_probe
from dlcv.train.folder.snapshots import snapshot_files
from dlcv.train.pictures.masks import TileMasks
from dlcv.train.report.record import RunRecord

TILES = 6
"""Shown where none are named and the run kept no masks."""
_BATCH = {"segmentation": 1, "classification": 16}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """What came of it.

    Attributes:
        labelled: the images.
        where: what they are, in words: `240 validation images of data`, the probe.
        confusion: int64 (classes, classes), rows true.
        scores: of that.
        tiles: some, with `truth`, `epoch N` and `best` masks; empty for classification.
        note: a sentence where all answers are one class; else empty.
    """

    labelled: LabelledSet[Any]
    where: str
    confusion: NDArray[np.int64]
    scores: Scores
    tiles: Sequence[TileMasks]
    note: str


def find_data(run: RunRecord, data: Path | None, dataset: str | None, say: Say) -> tuple[LabelledSet[Any] | None, str]:
    """The run's validation images, and what they are, in words.

    Args:
        run: its `split.csv`, where it kept one, says which images validated.
        data: where the images are now; None: where they were, and if they have gone, the run's probe.
        dataset: what masks mean; None: as the run had it.
        say: takes a sentence for each thing that is missing.

    Raises:
        DatasetError: when `data` is given and cannot be used.
    """
    if data is not None:
        labelled = _in_folder(run, data, dataset, say)
        return labelled, f"{len(labelled)} validation {NOUNS[labelled.task]}s in {data}"
    try:
        if run.data() == "sample":
            labelled = _in_folder(run, _sample(run.best.card.task), None, say)
        elif run.data():
            labelled = _in_folder(run, Path(run.data()), dataset, say)
        else:
            raise DatasetError("the run kept no settings that name its data")
        return labelled, f"{len(labelled)} validation {NOUNS[labelled.task]}s in {run.data()}"
    except DlcvError as error:
        say(f"the run's data was not found ({error}); pass --data DIR where it has moved")
    try:
        probe = read_probe(run.folder / PROBE_FOLDER, run.best.probe_sha256, run.best.card)
    except DlcvError as error:
        say(f"without data there is no confusion matrix, and there are no masks to look at: {error}")
        return None, ""
    where = f"the run's probe, {len(probe)} of its validation {NOUNS[probe.task]}s"
    say(f"confusion and pictures of {NOUNS[probe.task]}s are therefore of {where}, and not of all")
    return probe, where


def judge(
    run: RunRecord, labelled: LabelledSet[Any], where: str, *, tiles: Sequence[str], device: str, say: Say
) -> Judged:
    """Evaluates the best checkpoint, and looks at some tiles.

    Args:
        run: the run.
        labelled, where: see `find_data`.
        tiles: names of those to look at; empty takes those whose masks the run kept, else some, evenly spaced.
        device: `auto`, `cpu`, `cuda`.
        say: takes a sentence for each thing that is missing.

    Raises:
        UsageError: when a name in `tiles` is no tile's; before any work.
        DatasetError: when an image cannot be read.
    """
    card = run.best.card
    chosen = _chosen(run, labelled, tiles) if card.task == "segmentation" else None
    session = TorchSession(model_from_checkpoint(run.best), card, torch_device(device))
    tally = evaluate(session, labelled, PipelineSettings(batch=_BATCH[card.task], fit=card.fit))
    shown_tiles = _tiles(run, session, chosen, say) if chosen is not None else []
    return Judged(labelled, where, tally.confusion, tally.scores(), shown_tiles, one_class_note(tally, card.classes))


def _in_folder(run: RunRecord, data: Path, dataset: str | None, say: Say) -> LabelledSet[Any]:
    split = run.folder / SPLIT_NAME
    if not data.exists():
        raise DatasetError(f"there is nothing at {data}")
    learned = masks_of(run.best, run.folder / "best.pt")
    return labelled_for(
        run.best.card, data, dataset=dataset, learned=learned, split=split if split.is_file() else None, say=say
    )


def _sample(task: str) -> Path:
    from dlcv.train.data.sample import sample_folder

    return sample_folder(task=task, progress=lambda done, total: None)


def _chosen(run: RunRecord, labelled: LabelledSet[Any], names: Sequence[str]) -> LabelledSet[Any]:
    known = {str(example.name): example for example in labelled.examples}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"--tile: no tile is called {', '.join(map(shown, unknown))}; there is {shown(next(iter(known)))}"
        )
    kept = dict.fromkeys(name for tiles in snapshot_files(run.folder).values() for name in tiles)
    wanted = names or [name for name in kept if name in known]
    return labelled.with_examples([known[name] for name in wanted]) if wanted else labelled.evenly(TILES)


def _tiles(run: RunRecord, session: TorchSession, labelled: LabelledSet[Any], say: Say) -> list[TileMasks]:
    snapshots, found = snapshot_files(run.folder), []
    for example in labelled.examples:
        image_rgb, truth = labelled.read(example)
        masks = {"truth": np.asarray(truth, np.uint8)}
        for epoch, files in snapshots.items():
            if example.name in files:
                masks |= _kept_mask(f"epoch {epoch}", files[example.name], truth.shape, say)
        best = "best" if run.best_epoch is None else f"best, epoch {run.best_epoch}"
        masks[best] = answer_images(session, [image_rgb], batch=1)[0].answer
        found.append(TileMasks(str(example.name), image_rgb, masks))
    return found


def _kept_mask(heading: str, path: Path, shape: tuple[int, ...], say: Say) -> Mapping[str, NDArray[np.uint8]]:
    try:
        mask = read_mask(path)
    except TileError as error:
        say(f"{path} is left out: {error}")
        return {}
    if mask.shape != shape:
        say(f"{path} is left out: it is {mask.shape[0]} x {mask.shape[1]} pixels, its tile {shape[0]} x {shape[1]}")
        return {}
    return {heading: mask}
