"""Which output a run has: that of the engine's task, with the extras that were asked for around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.outputs.extras import Extra
from dlcv.runtime.outputs.mask_folder import MaskFolder
from dlcv.runtime.outputs.prediction_table import PredictionTable
from dlcv.runtime.outputs.with_extras import WithExtras
from dlcv.runtime.tiles.tile_list import Tile


def chosen_output(
    folder: Path, card: ModelCard, tiles: Sequence[Tile], options: Mapping[str, Any], engine: str
) -> Output[Any]:
    """The output of a run.

    Args:
        folder: of the run.
        card: the engine's.
        tiles: all that were asked for.
        options: from `task_options`, and `gallery`.
        engine: its name, for sentences.

    Raises:
        UsageError: when two outputs would have one name, an option cannot be used, or the engine does not give what an
            extra needs.
    """
    extras = _extras(folder, card, tiles, options, engine)
    segmentation = card.task == "segmentation"
    answers: Output[Any] = (
        MaskFolder(folder, card, tiles, options["name_template"])
        if segmentation
        else PredictionTable(folder, card, options["format"], options["top_k"])
    )
    return WithExtras(answers, extras, tiles, segmentation=segmentation) if extras else answers


def _extras(
    folder: Path, card: ModelCard, tiles: Sequence[Tile], options: Mapping[str, Any], engine: str
) -> list[Extra]:
    """Each is imported where it is wanted: a run without extras loads none of them."""
    extras: list[Extra] = []
    picture = None
    if options.get("overlay"):
        from dlcv.runtime.outputs.overlays import FORMATS, Overlays

        extras.append(Overlays(folder, card.palette, options["alpha"], options["overlay_format"]))
        picture = FORMATS[options["overlay_format"]]
    if options.get("confidence"):
        from dlcv.runtime.outputs.confidence import ConfidenceMaps, ConfidenceTable, require_probabilities

        require_probabilities(card, engine)
        extras += [ConfidenceMaps(folder), ConfidenceTable(folder)]
    if options.get("polygons"):
        from dlcv.runtime.outputs.polygons.files import Polygons

        confident = card.head in ("probs", "logits")
        simplify, min_area = options["simplify"], options["min_area"]
        extras.append(Polygons(folder, card.classes, simplify, min_area, with_confidence=confident))
    if options.get("areas"):
        from dlcv.runtime.outputs.areas import Areas

        extras.append(Areas(folder, card.classes))
    if options.get("gallery"):
        from dlcv.runtime.outputs.gallery import Gallery

        extras.append(Gallery(folder, card, picture, {tile.key for tile in tiles if tile.large}))
    return extras
