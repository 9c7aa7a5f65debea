"""Random fields and cell grids in numpy alone: what the generated scenes are drawn from.

No OpenCV here: class maps are made from these fields, and they must not change with the version of an image library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# Standard deviation that cubic B-spline interpolation leaves of unit white noise, averaged over a cell (both axes).
_SPLINE_STD = 0.479
_TABLE = 1021  # a prime: neighbouring cells do not meet the same entry again within a scene


def generator(*key: int) -> np.random.Generator:
    """The generator of one part of one scene; `key` holds non-negative integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def value_noise(rng: np.random.Generator, size: int, period: float) -> Field:
    """Smooth noise of about zero mean and unit deviation: a random lattice under a cubic B-spline.

    Args:
        size: height and width of the field in pixels.
        period: lattice spacing in pixels.

    Returns:
        (size, size) float32.
    """
    return fractal_noise(rng, size, period, octaves=1)


def fractal_noise(rng: np.random.Generator, size: int, period: float, octaves: int, gain: float = 0.5) -> Field:
    """Octaves of `value_noise`, each of half the period and `gain` times the amplitude; unit deviation, float32.

    An octave is rows @ lattice @ columns.T; laying the octaves side by side makes their sum one matrix product.
    """
    left, right = [], []
    for octave in range(octaves):
        step = period / 2**octave
        cells = math.ceil(size / step) + 4
        lattice = (gain**octave * rng.standard_normal((cells, cells))).astype(np.float32)
        phase = rng.random(2)
        left.append(_spline(size, step, float(phase[0]), cells) @ lattice)
        right.append(_spline(size, step, float(phase[1]), cells))
    deviation = _SPLINE_STD * math.sqrt(sum(gain ** (2 * octave) for octave in range(octaves)))
    field = (np.hstack(left) / np.float32(deviation)) @ np.hstack(right).T
    return np.asarray(field, np.float32)


def _spline(size: int, period: float, phase: float, cells: int) -> Field:
    """Weights of `cells` lattice points at each of `size` pixels: (size, cells) float32, four of a row are not zero."""
    position = phase + np.arange(size) / period
    cell = position.astype(np.int64)
    t = position - cell
    t2 = t * t
    t3 = t2 * t  # products, not **: the power function is slow and may differ in its last bit between machines
    weights = ((1 - 3 * t + 3 * t2 - t3) / 6, (3 * t3 - 6 * t2 + 4) / 6, (1 + 3 * t + 3 * t2 - 3 * t3) / 6, t3 / 6)
    matrix = np.zeros((size, cells), np.float32)
    rows = np.arange(size)
    for tap, weight in enumerate(weights):
        matrix[rows, cell + tap] = weight
    return matrix


@dataclass(frozen=True)
class Cells:
    """A turned grid of unequal rectangles over a scene: fields, blocks of houses.

    Each array is (size, size). `u_px`, `v_px`: float32, coordinates in pixels along the grid's axes. `u`, `v`: float32,
    the place within the cell, 0 to 1. `edge_px`: float32, pixels to the nearest edge of the cell. `ident`: int32,
    the cell's number, below 1021. `centre_y`, `centre_x`: int32, a pixel near the cell's centre, inside the scene.
    """

    u_px: Field
    v_px: Field
    u: Field
    v: Field
    edge_px: Field
    ident: NDArray[np.int32]
    centre_y: NDArray[np.int32]
    centre_x: NDArray[np.int32]

    def pick(self, rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Field:
        """A random value a cell, uniform from `low` to `high`: (size, size) float32."""
        table = (low + (high - low) * rng.random(_TABLE)).astype(np.float32)
        return table[self.ident]


def cell_grid(
    rng: np.random.Generator, size: int, cell_wh: tuple[float, float], angle: float, wobble_px: float
) -> Cells:
    """A grid of cells of about `cell_wh` pixels, turned by `angle` (radians), its lines bent by `wobble_px` pixels."""
    width, height = np.float32(cell_wh[0]), np.float32(cell_wh[1])
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y, x = np.indices((size, size), np.float32, sparse=True)
    u_px, v_px = x * cos + y * sin, y * cos - x * sin
    if wobble_px:
        u_px = u_px + np.float32(wobble_px) * value_noise(rng, size, 40)
        v_px = v_px + np.float32(wobble_px) * value_noise(rng, size, 40)
    shift = rng.random(3)
    u: Field = _uneven((u_px / width).astype(np.float32), float(shift[0]))
    column = np.floor(u)
    column_number = column.astype(np.int32)
    # each column starts its rows elsewhere, so that corners do not line up through the scene
    start = rng.random(_TABLE).astype(np.float32)
    v = _uneven((v_px / height).astype(np.float32) + start[column_number % _TABLE], float(shift[1]))
    row = np.floor(v)
    u, v = u - column, v - row
    edge_px = np.minimum(np.minimum(u, 1 - u) * width, np.minimum(v, 1 - v) * height)
    to_u, to_v = (np.float32(0.5) - u) * width, (np.float32(0.5) - v) * height
    centre_x = np.clip(x + to_u * cos - to_v * sin, 0, size - 1).astype(np.int32)
    centre_y = np.clip(y + to_u * sin + to_v * cos, 0, size - 1).astype(np.int32)
    ident = (column_number * 389 + row.astype(np.int32) * 31 + int(shift[2] * _TABLE)) % _TABLE
    return Cells(u_px, v_px, u, v, edge_px, ident, centre_y, centre_x)


def _uneven(position: Field, phase: float) -> Field:
    # a monotone bend (slope 1 +- 0.4): neighbouring cells get unequal widths
    bend = np.sin(np.float32(2.4) * position + np.float32(2 * math.pi * phase))
    return np.asarray(position + np.float32(0.165) * bend, np.float32)
