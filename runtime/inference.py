"""A folder of tiles through an engine: masks, manifest and summary. What `dlcv-infer` does, as one function."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.decode import DecodeOptions, decode_file
from dlcv.runtime.errors import OutputError, TileError, UsageError
from dlcv.runtime.files import make_folder, remove_partials, sha256_of
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.manifest import DONE, FAILED, Manifest, Row, forget
from dlcv.runtime.outputs.masks import write_mask
from dlcv.runtime.pipeline import STAGES, Outcome, Pipeline, PipelineSettings, StageTimes
from dlcv.runtime.progress import Progress
from dlcv.runtime.run_folder import RunFolder
from dlcv.runtime.sessions import Session, open_session
from dlcv.runtime.tiles import DEFAULT_TEMPLATE, Tile, find_tiles, output_names, source_folders
from dlcv.runtime.version import __version__

GPU_BATCH = 8
_TILE_ERRNOS = (errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ)
"""What the operating system refuses for one name; any other refusal would meet every tile."""


@dataclass(frozen=True)
class InferSettings:
    """What a run was asked to do.

    Attributes:
        sources: files, folders, globs.
        engine: an `.onnx` or a `.plan`.
        output: folder of masks, manifest and summary.
        device: `auto`, `cpu`, `cuda`.
        batch: windows at once; None: 1 on a CPU, where a lane works on one tile, 8 on a GPU.
        fit: see `fitting.py`; None takes the card's.
        overlap: of windows, as a share of their side.
        decoders, writers: threads; None: one a core.
        name_template: output's name, see `tiles.py`.
        decode: limits and 16-bit scale.
        resume, overwrite: what to do with a run that the folder holds.
        quiet: no progress.
    """

    sources: tuple[str, ...]
    engine: Path
    output: Path
    device: str = "auto"
    batch: int | None = None
    fit: str | None = None
    overlap: float = 0.25
    decoders: int | None = None
    writers: int | None = None
    name_template: str = DEFAULT_TEMPLATE
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False


@dataclass
class Summary:
    """How a run ended; `summary.json` holds the same.

    Attributes:
        tiles: that were asked for.
        done: with a mask, those of an earlier run that was resumed among them.
        failed: with a reason in the manifest.
        resumed: done in an earlier run.
        pixels: of each class, over the masks that this run wrote.
        first_failure: path and reason of one failed tile, for people; empty when none.
    """

    tiles: int
    done: int = 0
    failed: int = 0
    resumed: int = 0
    pixels: dict[str, int] = field(default_factory=dict)
    first_failure: str = ""


def infer(settings: InferSettings, say: Callable[[str], None] = lambda _: None) -> Summary:
    """Runs all tiles; see `InferSettings`. `say` takes lines for people.

    Raises:
        UsageError: when there are no tiles, or the output folder is in use or holds another run.
        EngineError, CardError: when the engine cannot be run.
        OutputError: when results cannot be written; masks that are there are whole.
        KeyboardInterrupt: after Ctrl-C; finished tiles are in the manifest.
    """
    tiles = find_tiles(settings.sources, leave_out=settings.output, say=say)
    names = output_names(tiles, settings.name_template)
    _refuse_to_overwrite_inputs(settings, tiles, names)
    with open_session(settings.engine, device=settings.device, lanes=cpu_count()) as session:
        require_segmentation(session.card, settings.engine)
        with RunFolder(
            settings.output, _identity(settings, session), resume=settings.resume, overwrite=settings.overwrite
        ) as folder:
            return _Run(settings, session, folder, tiles, names).run()


class _Run:
    """One call of `infer`: counts outcomes and writes them down."""

    def __init__(
        self, settings: InferSettings, session: Session, folder: RunFolder, tiles: Sequence[Tile], names: dict[str, str]
    ) -> None:
        self._settings, self._session, self._folder, self._tiles, self._names = settings, session, folder, tiles, names
        self._pixels = np.zeros(256, np.int64)
        self._summary = Summary(tiles=len(tiles))
        self._folders: set[Path] = {folder.folder}

    def run(self) -> Summary:
        before = self._folder.done()
        left = [tile for tile in self._tiles if not self._is_done(tile, before)]
        if self._folder.manifest.exists():
            self._clear_up(left)
        self._summary.resumed = self._summary.done = len(self._tiles) - len(left)
        pipeline: Pipeline[Tile, NDArray[np.int64]] = Pipeline(
            self._session, self._read, self._finish, pipeline_settings(self._settings, self._session)
        )
        started = time.time()
        complete = False
        try:
            with (
                Manifest(self._folder.manifest) as manifest,
                Progress(len(left), "tiles", quiet=self._settings.quiet) as progress,
            ):
                pipeline.run(left, lambda outcome: self._note(outcome, manifest, progress))
            complete = True
        finally:
            self._summary.pixels = dict(zip(self._session.card.classes, self._pixels.tolist()))
            if complete or self._summary.done + self._summary.failed:
                self._folder.write_summary(self._facts(pipeline.times, started, complete))
        return self._summary

    def _is_done(self, tile: Tile, before: dict[str, str]) -> bool:
        """Whether the tile's mask is there, and no older than the tile."""
        name = self._names[tile.key]
        if before.get(tile.key) != name:
            return False
        try:
            return tile.path.stat().st_mtime_ns <= (self._folder.folder / name).stat().st_mtime_ns
        except OSError:
            return False

    def _clear_up(self, left: Sequence[Tile]) -> None:
        """Takes out what an interrupted run left of the tiles that are run again."""
        forget(self._folder.manifest, {tile.key for tile in left})
        for folder in {(self._folder.folder / self._names[tile.key]).parent for tile in left}:
            remove_partials(folder)

    def _read(self, tile: Tile) -> NDArray[np.uint8]:
        return decode_file(tile.path, self._settings.decode)

    def _finish(self, tile: Tile, mask: NDArray[np.uint8]) -> NDArray[np.int64]:
        path = self._folder.folder / self._names[tile.key]
        try:
            if path.parent not in self._folders:
                make_folder(path.parent)
                self._folders.add(path.parent)
            write_mask(path, mask, self._session.card.palette)
        except OutputError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _TILE_ERRNOS:
                raise TileError(str(error)) from error
            raise
        return class_pixels(mask)

    def _note(self, outcome: Outcome[Tile, NDArray[np.int64]], manifest: Manifest, progress: Progress) -> None:
        key = outcome.tile.key
        if outcome.error is None and outcome.result is not None:
            manifest.add(Row(key, DONE, self._names[key]))
            self._summary.done += 1
            self._pixels += outcome.result
        else:
            manifest.add(Row(key, FAILED, reason=str(outcome.error)))
            self._summary.failed += 1
            self._summary.first_failure = self._summary.first_failure or f"{key}: {outcome.error}"
        progress.advance(1, f"{self._summary.failed} failed" if self._summary.failed else "")

    def _facts(self, times: StageTimes, started: float, complete: bool) -> dict[str, Any]:
        summary = asdict(self._summary)
        summary.pop("first_failure")
        worked = self._summary.done + self._summary.failed - self._summary.resumed
        return summary | {
            "complete": complete,
            "seconds": round(times.wall_s, 3),
            "tiles_per_second": round(worked / times.wall_s, 3) if times.wall_s else 0.0,
            "time": {
                stage: {
                    "busy_s": round(times.busy_s[stage], 3),
                    "threads": times.threads[stage],
                    "share": round(times.share(stage), 3),
                }
                for stage in STAGES
            },
            "batches": times.batches,
            "session": self._session.description,
            "engine": str(self._settings.engine),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "dlcv": __version__,
        }


def _refuse_to_overwrite_inputs(settings: InferSettings, tiles: Sequence[Tile], names: dict[str, str]) -> None:
    inputs = {os.path.realpath(tile.path) for tile in tiles} | {os.path.realpath(settings.engine)}
    folder = os.path.realpath(settings.output)
    for key, name in names.items():
        if os.path.join(folder, name) in inputs:
            raise UsageError(
                f"the mask of {key} would be written over an input, {settings.output / name}; choose another folder with --output"
            )


def pipeline_settings(settings: InferSettings, session: Session) -> PipelineSettings:
    """Batch and threads, where the user left them open, from the session and the cores."""
    default = 1 if session.device == "cpu" else GPU_BATCH
    batch = settings.batch or min(default, session.max_batch or default)
    if session.max_batch and batch > session.max_batch:
        raise UsageError(
            f"--batch {batch} is above the {session.max_batch} that {settings.engine} was built for; pass a smaller one, or export with --max-batch {batch}"
        )
    return PipelineSettings(
        batch=batch,
        decoders=settings.decoders or cpu_count(),
        writers=settings.writers or cpu_count(),
        fit=settings.fit or session.card.fit,
        overlap=settings.overlap,
    )


def require_segmentation(card: ModelCard, engine: Path) -> None:
    """Refuses an engine that gives no masks."""
    if card.task != "segmentation":
        raise UsageError(f"{engine} is a {card.task} model; this version runs segmentation models only")


def class_pixels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each index in a mask, uint8 (H, W): int64 (256,)."""
    if mask.size < 1 << 24:  # cv2 counts in float32, exact up to there; it is faster and holds no lock
        return cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(mask.ravel(), minlength=256).astype(np.int64)


def _identity(settings: InferSettings, session: Session) -> dict[str, Any]:
    """What makes a mask what it is: a resumed run must agree in all of it."""
    return {
        "folders": source_folders(settings.sources),
        "engine_sha256": sha256_of(settings.engine),
        "fit": settings.fit or session.card.fit,
        "overlap": settings.overlap,
        "name_template": settings.name_template,
        "scale_16bit": list(settings.decode.scale_16bit) if settings.decode.scale_16bit else None,
    }
