"""Where a run meets large images: which tiles are, and the pipeline that takes both kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import answers_for, confident_answers_of
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.files import make_folder, sha256_of
from dlcv.runtime.large.flow import TilePipeline, Work
from dlcv.runtime.large.run import LargeSettings
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.raster.detect import mark_large
from dlcv.runtime.records.output_names import DEFAULT_TEMPLATE, name_of
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.tiles.earlier_runs import RUN
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.tile_list import Tile, TileList
from dlcv.runtime.work.settings import InferSettings, pipeline_settings

R = TypeVar("R")
W = TypeVar("W", bound=Work)


def marked(
    tiles: TileList,
    settings: InferSettings,
    card: ModelCard,
    say: Callable[[str], None],
    looks: Looks | None = None,
) -> TileList:
    """The tiles of a run, those that are read by windows marked; see `mark_large`."""
    if card.task != "segmentation":
        return tiles
    found = mark_large(
        tiles,
        max_pixels=settings.decode.max_pixels,
        every_tiff=settings.fitting.bands is not None,
        say=say,
        looks=looks,
    )
    if card.head == "mask" and found is not tiles:
        say(
            "windows of large images are cut, not blended: the engine returns masks; export it with --head probs to blend"
        )
    return found


def tile_pipeline(
    settings: InferSettings,
    session: Session,
    read: Callable[[W], NDArray[np.uint8]],
    write: Callable[[W, NDArray[Any]], R],
    output: Output[R],
    tiles: int | None,
) -> TilePipeline[W, R]:
    """The pipeline of a run, for tiles of both kinds; `tiles` as for `pipeline_settings`."""
    laid_out = pipeline_settings(settings, session, tiles)
    template = settings.outputs.name_template or DEFAULT_TEMPLATE
    answers = answers_for(session.card, blend=laid_out.blend, tta=laid_out.tta)

    def mask_path(tile: Tile) -> Path:
        path = settings.output / name_of(tile, template)
        make_folder(path.parent)
        return path

    return TilePipeline(
        session, read, write, laid_out,
        answers=answers or (confident_answers_of if output.needs_confidence else None),
        large=LargeSettings(
            laid_out.fit, laid_out.overlap, laid_out.blend, settings.fitting.bands, settings.decode.scale_16bit,
            output.needs_confidence, settings.resume, _made_by(settings.output),
        ),
        mask_path=mask_path, written=output.write_large,
    )  # fmt: skip


def _made_by(folder: Path) -> str:
    """A hash of what the run says about itself: the engine's hash and the settings."""
    try:
        return sha256_of(folder / RUN)
    except OSError:  # of a worker's run on another machine
        return ""
