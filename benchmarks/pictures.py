"""The picture of a result: image, truth and prediction side by side. `python -m dlcv.benchmarks.pictures --help`."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command


def comparison_picture(data: Path, masks: Path, engine: Path, target: Path, *, tiles: int = 3, skip: int = 0) -> None:
    """Draws labelled tiles beside the masks that `dlcv-infer` wrote for them.

    Args:
        data: labelled tiles.
        masks: output folder of `dlcv-infer` over the same tiles.
        engine: whose card names classes and colours.
        target: the picture, PNG or JPEG.
        tiles: how many rows, evenly spaced over the tiles.
        skip: how many tiles to leave out first.
    """
    import numpy as np

    from dlcv.runtime.card_reader import read_card
    from dlcv.runtime.datasets.labels import read_label
    from dlcv.runtime.datasets.pairs import validation_pairs
    from dlcv.runtime.decode import decode_file
    from dlcv.runtime.evaluation import find_description
    from dlcv.runtime.manifest import read_manifest
    from dlcv.runtime.outputs.masks import read_mask
    from dlcv.runtime.outputs.pictures import colour_mask, legend, side_by_side, write_picture

    card = read_card(engine)
    description = find_description(None, data, card)
    pairs = validation_pairs(data, description)[skip:]
    outputs = {Path(row.path).name: masks / row.output for row in read_manifest(masks / "manifest.csv") if row.output}
    rows = []
    for k in range(min(tiles, len(pairs))):
        pair = pairs[k * len(pairs) // tiles]
        predicted = read_mask(outputs[pair.image.name])
        label = read_label(pair, description)
        rows.append([decode_file(pair.image), colour_mask(label, card.palette), colour_mask(predicted, card.palette)])
    sheet = side_by_side(rows, ["image", "truth", f"{card.model} (width {card.width:g})"])
    write_picture(target, np.concatenate([sheet, legend(sheet.shape[1], card.classes, card.palette)]))


@click.command("pictures", cls=Command)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled tiles.")
@click.option("--masks", type=click.Path(path_type=Path), required=True, help="What dlcv-infer wrote for them.")
@click.option("--engine", type=click.Path(path_type=Path), required=True)
@click.option("--tiles", type=click.IntRange(1), default=3, show_default=True)
@click.option("--skip", type=click.IntRange(0), default=0, show_default=True)
@click.argument("target", type=click.Path(path_type=Path))
def main(data: Path, masks: Path, engine: Path, tiles: int, skip: int, target: Path) -> None:
    """Draw image, truth and prediction side by side into TARGET (.png or .jpg)."""
    comparison_picture(data, masks, engine, target, tiles=tiles, skip=skip)
    click.echo(target)


if __name__ == "__main__":
    main()
