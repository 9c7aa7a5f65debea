"""The picture of a result: image, truth and prediction side by side. `python -m dlcv.benchmarks.judging.pictures --help`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.cli.common import Command


def comparison_picture(data: Path, masks: Path, engine: Path, target: Path, *, tiles: int = 3, side: int = 300) -> None:
    """Draws labelled tiles beside the masks that `dlcv-infer` wrote for them: those whose truth holds most classes.

    Args:
        data: labelled tiles.
        masks: output folder of `dlcv-infer` over the same tiles.
        engine: whose card names classes and colours.
        target: the picture, PNG or JPEG.
        tiles: how many rows.
        side: height of a tile in the picture, in pixels.
    """
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.datasets.masks.labels import read_label
    from dlcv.runtime.datasets.masks.pairs import validation_pairs
    from dlcv.runtime.datasets.masks.tiles import find_description
    from dlcv.runtime.errors import UsageError
    from dlcv.runtime.masks import read_mask
    from dlcv.runtime.outputs.pictures import colour_mask, legend, side_by_side, write_picture
    from dlcv.runtime.records.manifest import read_manifest
    from dlcv.runtime.tiles.decode import decode_file

    card = read_card(engine)
    if card.task != "segmentation":
        raise UsageError(f"{engine} is for {card.task}; this picture shows the masks of a segmentation engine")
    description = find_description(None, data, card)
    pairs = validation_pairs(data, description)
    labels = {pair.name: read_label(pair, description) for pair in pairs}
    pairs = sorted(pairs, key=lambda pair: (-len(np.unique(labels[pair.name])), pair.name))
    outputs = {Path(row.path).name: masks / row.output for row in read_manifest(masks / "manifest.csv") if row.output}
    rows = []
    for pair in pairs[:: max(1, len(pairs) // 3 // tiles)][:tiles]:  # spread over the third with most classes
        predicted = read_mask(outputs[pair.image.name])
        row = [
            decode_file(pair.image),
            colour_mask(labels[pair.name], card.palette),
            colour_mask(predicted, card.palette),
        ]
        rows.append([_shrunk(picture, side) for picture in row])
    sheet = side_by_side(rows, ["image", "truth", f"{card.model} (width {card.width:g})"])
    write_picture(target, np.concatenate([sheet, legend(sheet.shape[1], card.classes, card.palette)]))


def _shrunk(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A picture uint8 (H, W, 3) at `side` pixels of height."""
    import cv2

    size = (round(picture.shape[1] * side / picture.shape[0]), side)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


@click.command("pictures", cls=Command)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled tiles.")
@click.option("--masks", type=click.Path(path_type=Path), required=True, help="What dlcv-infer wrote for them.")
@click.option("--engine", type=click.Path(path_type=Path), required=True)
@click.option("--tiles", type=click.IntRange(1), default=3, show_default=True)
@click.option("--side", type=click.IntRange(32), default=300, show_default=True, help="Height of a tile, in pixels.")
@click.argument("target", type=click.Path(path_type=Path))
def main(data: Path, masks: Path, engine: Path, tiles: int, side: int, target: Path) -> None:
    """Draw image, truth and prediction side by side into TARGET (.png or .jpg)."""
    comparison_picture(data, masks, engine, target, tiles=tiles, side=side)
    click.echo(target)


if __name__ == "__main__":
    main()
