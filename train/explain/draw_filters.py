"""The picture of a layer's filters: the input found for each and the images that activate it most, with a table of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.explain.figures.filters import FilterRow, Hit, filters_figure
from dlcv.train.explain.layers import Layer
from dlcv.train.explain.maximisation import Maximised, maximise
from dlcv.train.explain.observation import Observation, Strongest
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.explain.receptive import receptive_field
from dlcv.train.explain.subject import Subject, view_of
from dlcv.train.explain.tables import write_arrays
from dlcv.train.pictures.keep import keep
from dlcv.train.pictures.picture import Picture

HEADER = ("layer", "filter", "rank", "name", "activation", "y", "x")


def draw_filters(
    subject: Subject,
    data: LabelledSet[Any],
    layer: Layer,
    observation: Observation,
    folder: Path,
    options: ExplainOptions,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Picture]:
    """Writes `filters-LAYER.png`, `.csv` and `.npz`.

    The table has a row for each image, rank 1 the strongest, y and x being the middle of the unit in pixels of what the model
    sees; and one of rank 0 for the input that was found. The archive holds those inputs, `images` uint8 (n, S, S, 3), RGB, with
    `filters`, and the mean of the positive part of each filter's map on them and on the noise before, `after` and `before`.

    Raises:
        DatasetError: when an image cannot be read.
        OutputError: when a file cannot be written.
    """
    strongest = observation.strongest[layer.name]
    filters = evenly_among(alive(strongest), options.filters)
    maximised = maximise(subject, layer, filters, steps=options.steps, seed=options.seed, advance=advance)
    field_hw = receptive_field(subject, layer, options.seed)
    names = data.classes if layer.channels == len(data.classes) and layer.kind == "Linear" else None
    rows = []
    for number, index in enumerate(filters):
        label = names[index] if names else f"filter {index}"
        hits = _hits(subject, data, observation, strongest, index)
        rows.append(FilterRow(label, maximised.images[number], float(maximised.highest[number]), hits))

    name = f"filters-{layer.name}"
    write_arrays(folder / f"{name}.npz", _arrays(filters, maximised))
    figure = filters_figure(rows, field_hw, f"{subject.card.model}, {layer.name}: what its filters look for")
    caption = caption_of(layer, strongest, field_hw, len(observation.examples), len(filters))
    table = (HEADER, _table(layer, filters, rows, subject.card.input_size_hw))
    return [keep(folder, name, figure, title=f"Filters of {layer.name}", caption=caption, table=table, exact=True)]


def alive(strongest: Strongest) -> list[int]:
    """The filters that are positive somewhere; all of them where none is."""
    found = np.flatnonzero(strongest.values[0] > 0).tolist()
    return found or list(range(strongest.values.shape[1]))


def evenly_among(filters: list[int], count: int) -> list[int]:
    """At most `count` of them, evenly spaced, the first among them."""
    count = min(count, len(filters))
    return [filters[k * len(filters) // count] for k in range(count)]


def caption_of(layer: Layer, strongest: Strongest, field_hw: tuple[int, int] | None, images: int, shown: int) -> str:
    """What the columns are, which filters were chosen, and how many are dead."""
    living = int((strongest.values[0] > 0).sum())
    sees = "the whole image, a ring marks where" if field_hw is None else f"{field_hw[0]} x {field_hw[1]} pixels"
    return (
        f"A row is a filter, {shown} of the {living} of {layer.channels} that are positive on any of {images} images. Left: the input found by "
        f"gradient ascent on its map's positive part, from noise. Right: the images on which it is highest; a unit sees {sees}. Below each "
        "the highest activation of its map, before the ReLU."
    )


def _hits(
    subject: Subject, data: LabelledSet[Any], observation: Observation, strongest: Strongest, index: int
) -> list[Hit]:
    hits = []
    for rank in range(len(strongest.values)):
        view = view_of(data, observation.examples[int(strongest.images[rank, index])], subject.card)
        y, x = strongest.places[rank, index].tolist()
        hits.append(Hit(view.name, view.image, (y, x), float(strongest.values[rank, index])))
    return hits


def _table(layer: Layer, filters: list[int], rows: list[FilterRow], size_hw: tuple[int, int]) -> list[tuple[Any, ...]]:
    table: list[tuple[Any, ...]] = []
    for index, row in zip(filters, rows, strict=True):
        table.append((layer.name, index, 0, "", row.activation, "", ""))
        for rank, hit in enumerate(row.hits, 1):
            y, x = (share * side for share, side in zip(hit.place, size_hw, strict=True))
            table.append((layer.name, index, rank, hit.name, hit.activation, y, x))
    return table


def _arrays(filters: list[int], maximised: Maximised) -> dict[str, Any]:
    return {
        "filters": np.array(filters, np.int64), "images": maximised.images, "before": maximised.before,
        "after": maximised.after, "highest": maximised.highest,
    }  # fmt: skip
