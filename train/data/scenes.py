"""Land-cover scenes that look like stylised aerial pictures, drawn from random fields: image and labels of one tile.

Agriculture, rangeland, forest, barren land and turbid water share much of their colours and differ in texture: rows and
parcels, smooth mottling, crowns, grain, nothing. Light, haze and season change from scene to scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.train.data.noise import Cells, Field, cell_grid, fractal_noise, generator, value_noise

URBAN, AGRICULTURE, RANGELAND, FOREST, WATER, BARREN, UNKNOWN = range(7)
_LAND = 6  # classes that have a field; unknown is laid over them
_BIAS = (0.05, 0.22, 0.0, 0.0, -0.3, 0.0)  # in deviations of a field; water also gets rivers
_SPLITS = ("train", "validation")
# parts of a scene, each with its own generator: a change to one leaves the draws of the others
_LAYOUT, _LOOK, _COVER, _PAINT = range(4)

Planes = NDArray[np.float32]  # (3, size, size), RGB, about 0 to 255: planes are several times faster than pixels here


def make_scene(
    seed: int, index: int, size: int, *, split: str = "train"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws one scene; the same arguments give the same scene.

    Args:
        seed: of the whole set, 0 or more.
        index: of the scene in its split, 0 or more.
        size: height and width in pixels. Textures keep their size in pixels: a larger scene shows more land.
        split: "train" or "validation"; their scenes are different.

    Returns:
        The image, (size, size, 3) uint8 RGB, and the labels, (size, size) uint8, class indices 0 to 6.

    Raises:
        ValueError: `split` is neither name, `seed` or `index` is negative or `size` below 16.
    """
    if split not in _SPLITS or seed < 0 or index < 0 or size < 16:
        raise ValueError(f"no scene {index} of split {split!r}, seed {seed}, size {size}: see make_scene")
    key = (seed, _SPLITS.index(split), index)
    parcels, streets = _grids(generator(*key, _LAYOUT, 0), size)
    land = _land(generator(*key, _LAYOUT, 1), size, index, {AGRICULTURE: parcels, URBAN: streets})
    image = _blend(key, land, parcels, streets)
    image = _light(generator(*key, _LOOK), image)
    image, unknown = _cover(generator(*key, _COVER), image, index)
    label = np.where(unknown, np.uint8(UNKNOWN), land)
    pixels = np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)), label


def _grids(rng: np.random.Generator, size: int) -> tuple[Cells, Cells]:
    angles, scale = rng.random(2) * math.pi, 0.8 + 0.5 * rng.random(2)
    parcels = cell_grid(rng, size, (38 * scale[0], 58 * scale[0]), float(angles[0]), 2.0)
    streets = cell_grid(rng, size, (46 * scale[1], 34 * scale[1]), float(angles[1]), 1.2)
    return parcels, streets


def _land(rng: np.random.Generator, size: int, index: int, outlined: dict[int, Cells]) -> NDArray[np.uint8]:
    """The class map before clouds: the strongest of six fields at each pixel, (size, size) uint8.

    `outlined` names the classes whose borders follow the lines of a grid.
    """
    land, highest = np.zeros((size, size), np.uint8), np.full((size, size), -np.inf, np.float32)
    for name in range(_LAND):
        field = fractal_noise(rng, size, 60, octaves=2 if name == WATER else 4)
        # each class leads in turn, so that small sets hold all of them
        field += np.float32(_BIAS[name] + 0.35 * rng.standard_normal() + (0.55 if index % _LAND == name else 0))
        if name in outlined:  # people end their land at its lines
            cells = outlined[name]
            field = np.float32(0.25) * field + np.float32(0.75) * field[cells.centre_y, cells.centre_x]
        land[field > highest] = name
        np.maximum(highest, field, out=highest)
    if rng.random() < 0.5:
        course = fractal_noise(rng, size, 85, octaves=3, gain=0.3)
        land[np.abs(course) < 0.04 + 0.06 * rng.random()] = WATER
    return land


def _blend(key: tuple[int, int, int], land: NDArray[np.uint8], parcels: Cells, streets: Cells) -> Planes:
    """Paints each class and mixes them a few pixels wide along borders that waver."""
    size = land.shape[0]
    rng = generator(*key, _PAINT)
    y, x = np.indices((size, size), sparse=True)
    waver = [np.rint(np.float32(1.3) * value_noise(rng, size, 5)).astype(np.int32) for _ in range(2)]
    shown = land[np.clip(y + waver[0], 0, size - 1), np.clip(x + waver[1], 0, size - 1)]
    season, sun = float(rng.random()), float(rng.random() * 2 * math.pi)
    painters: dict[int, Callable[[np.random.Generator], Planes]] = {
        URBAN: lambda part: _urban(part, streets, season, sun),
        AGRICULTURE: lambda part: _agriculture(part, parcels, season),
        RANGELAND: lambda part: _rangeland(part, size, season),
        FOREST: lambda part: _forest(part, size, season, sun),
        WATER: lambda part: _water(part, size),
        BARREN: lambda part: _barren(part, size),
    }
    image = np.zeros((3, size, size), np.float32)
    for name, paint in painters.items():
        here = shown == name
        if here.any():
            painted = paint(generator(*key, _PAINT, name))
            painted *= cv2.GaussianBlur(here.astype(np.float32), (0, 0), 1.3)
            image += painted
    return image


def _rgb(red: float, green: float, blue: float) -> Field:
    return np.array((red, green, blue), np.float32).reshape(3, 1, 1)


def _between(first: Field, second: Field, share: Field) -> Planes:
    """From `first` (share 0) to `second` (share 1); shares below 0 and above 1 go on along the line."""
    mixed = share * (second - first)
    mixed += first  # in place: fresh planes cost more than the sums
    return mixed


def _plants(dryness: Field, brightness: Field) -> Planes:
    """The colours that fields, range and forest share: lush (dryness 0) to dry (1), times a brightness."""
    colours = _between(_rgb(66, 86, 50), _rgb(142, 127, 92), dryness)
    colours *= brightness
    return colours


def _grain(rng: np.random.Generator, size: int, sigma: float) -> Field:
    """Noise of unit deviation whose grains are about `sigma` pixels: (size, size) float32."""
    white = rng.random((size, size), dtype=np.float32) - np.float32(0.5)
    # a Gaussian of deviation s leaves 1 / (2 s sqrt(pi)) of white noise's deviation, here sqrt(1 / 12)
    scale = np.float32(2 * sigma * math.sqrt(12 * math.pi))
    grain: Field = np.asarray(cv2.GaussianBlur(white, (0, 0), sigma), np.float32) * scale
    return grain


def _agriculture(rng: np.random.Generator, parcels: Cells, season: float) -> Planes:
    size = parcels.u.shape[0]
    dryness = parcels.pick(rng, -0.15, 1.1) + np.float32(0.15 * (season - 0.5))
    brightness = parcels.pick(rng, 0.8, 1.2) + np.float32(0.03) * value_noise(rng, size, 20)
    turned = parcels.pick(rng) < 0.5
    along, across = np.where(turned, parcels.u_px, parcels.v_px), np.where(turned, parcels.v_px, parcels.u_px)
    along = along + parcels.pick(rng, -0.15, 0.15) * across
    period = parcels.pick(rng, 3.5, 7.5)
    rows = np.sin(np.float32(2 * math.pi) * along / period) * parcels.pick(rng, 0.03, 0.13)
    hedge = np.clip(np.float32(1.8) - parcels.edge_px, 0, 1) * parcels.pick(rng, -0.3, 0.2)
    return _plants(dryness, brightness + rows + hedge + np.float32(0.02) * _grain(rng, size, 0.7))


def _urban(rng: np.random.Generator, streets: Cells, season: float, sun: float) -> Planes:
    size, lots = streets.u.shape[0], 4093
    u, v = streets.u * np.float32(4), streets.v * np.float32(3)  # a block holds 4 x 3 lots
    column, row = np.floor(u), np.floor(v)
    u, v = u - column, v - row
    lot = (streets.ident * 12 + (column * 3 + row).astype(np.int32)) % lots
    kind, light = rng.random(lots), (0.75 + 0.5 * rng.random(lots)).astype(np.float32)
    roofs = np.array(((150, 146, 140), (152, 104, 80), (92, 92, 96), (205, 202, 196), (122, 108, 92)), np.float32)
    roof = (roofs[np.minimum(kind * 7, 4).astype(np.int64)] * light[:, None]).T[:, lot]
    roof = roof * np.where((u - np.float32(0.5)) * np.float32(math.cos(sun)) > 0, np.float32(1.08), np.float32(0.86))
    inside_px = np.float32(11) * np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    built = (kind < 0.78).astype(np.float32)[lot]  # the other lots are gardens
    dryness = np.float32(0.2 + 0.6 * season) + np.float32(0.2) * value_noise(rng, size, 12)
    garden = _plants(dryness, np.float32(0.9) + np.float32(0.12) * _grain(rng, size, 1.3))
    image = _between(garden, roof, np.clip((inside_px - np.float32(1.2)) * np.float32(1.2), 0, 1) * built)
    tar = np.float32(104 + 30 * rng.random()) + np.float32(5) * _grain(rng, size, 1.0)
    return _between(image, tar, np.clip((np.float32(3.4) - streets.edge_px) * np.float32(0.8), 0, 1))


def _forest(rng: np.random.Generator, size: int, season: float, sun: float) -> Planes:
    crowns = _grain(rng, size, 1.5 + 0.8 * float(rng.random()))
    away = (round(2.4 * math.sin(sun)), round(2.4 * math.cos(sun)))  # light from one side: crowns cast shadows
    relief = crowns - np.roll(crowns, away, axis=(0, 1))
    dryness = np.float32(0.02 + 0.55 * season * rng.random()) + np.float32(0.2) * value_noise(rng, size, 28)
    brightness = np.float32(0.86 + 0.22 * rng.random()) + np.float32(0.08) * value_noise(rng, size, 45)
    return _plants(dryness, np.maximum(brightness + np.float32(0.09) * crowns + np.float32(0.11) * relief, 0.3))


def _rangeland(rng: np.random.Generator, size: int, season: float) -> Planes:
    dryness = np.float32(0.1 + 0.6 * season + 0.15 * rng.random()) + np.float32(0.24) * fractal_noise(rng, size, 30, 2)
    brightness = np.float32(0.85 + 0.25 * rng.random()) + np.float32(0.06) * value_noise(rng, size, 22)
    shrubs = np.clip(_grain(rng, size, 1.4) - 2, 0, np.float32(0.6))
    return _plants(dryness, brightness - np.float32(0.4) * shrubs + np.float32(0.015) * _grain(rng, size, 0.8))


def _water(rng: np.random.Generator, size: int) -> Planes:
    mud = np.float32(0.9 * rng.random() ** 1.5) + np.float32(0.1) * value_noise(rng, size, 50)
    ripple = np.float32(1) + np.float32(0.012) * _grain(rng, size, 1.0)
    water: Planes = _between(_rgb(34, 58, 72), _rgb(98, 102, 78), mud) * ripple
    return water


def _barren(rng: np.random.Generator, size: int) -> Planes:
    rocky = np.float32(0.75 * rng.random()) + np.float32(0.22) * fractal_noise(rng, size, 36, 3)
    grain = np.float32(1) + np.float32(0.06) * _grain(rng, size, 0.6) + np.float32(0.04) * _grain(rng, size, 2.5)
    ground: Planes = _between(_rgb(186, 168, 134), _rgb(124, 110, 92), rocky) * grain
    return ground


def _light(rng: np.random.Generator, image: Planes) -> Planes:
    """Illumination, colour cast, haze and the sensor's noise of one scene."""
    size = image.shape[1]
    draw = rng.random(6)
    gain = (0.78 + 0.42 * draw[0]) * (1 + 0.07 * (draw[1:4] - 0.5))
    shade = np.float32(1) + np.float32(0.07) * value_noise(rng, size, 90)
    lit = image * gain.astype(np.float32).reshape(3, 1, 1) * shade
    lit = _between(lit, _rgb(186, 194, 204), np.asarray(0.35 * draw[4] ** 2, np.float32))
    noisy: Planes = lit + np.float32(1.5 + 2 * draw[5]) * _grain(rng, size, 0.5)
    return noisy


def _cover(rng: np.random.Generator, image: Planes, index: int) -> tuple[Planes, NDArray[np.bool_]]:
    """Lays clouds or a black wedge without data over every third scene; returns the image and where nothing is seen."""
    size = image.shape[1]
    if index % 3:
        return image, np.zeros((size, size), np.bool_)
    share, angle = 0.04 + 0.08 * float(rng.random()), 2 * math.pi * float(rng.random())
    if index % 2:
        y, x = np.indices((size, size), np.float32, sparse=True)
        height = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
        unknown = height > _upper(height, share)
        return image * ~unknown, unknown
    height = fractal_noise(rng, size, 48, octaves=4, gain=0.45)
    height = height - _upper(height, share)
    thick = np.clip(np.float32(0.5) + np.float32(1.6) * height, 0, np.float32(0.97))
    shadow = np.roll(thick, (round(14 * math.sin(angle)), round(14 * math.cos(angle))), axis=(0, 1))
    cloud = np.float32(226) + np.float32(10) * value_noise(rng, size, 9)
    return _between(image * (1 - np.float32(0.4) * shadow), cloud, thick), height > 0


def _upper(height: Field, share: float) -> np.float32:
    """The value that `share` of all pixels exceed."""
    flat = np.sort(height, axis=None)
    value: np.float32 = flat[int((1 - share) * (flat.size - 1))]
    return value
