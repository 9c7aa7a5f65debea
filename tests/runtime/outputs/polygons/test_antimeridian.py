"""Polygons are cut at the antimeridian; shapely says what is left of them on each side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.outputs.polygons.antimeridian import cut_at_180
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, feature_of, polygons_of

shapely = pytest.importorskip("shapely")
affinity = pytest.importorskip("shapely.affinity")


def polygon(*rings: list[tuple[float, float]]) -> RegionPolygon:
    return RegionPolygon(0, 1, None, tuple(np.array([*ring, ring[0]], np.float64) for ring in rings))


def shapes(found: RegionPolygon) -> list[Any]:
    return [shapely.Polygon(rings[0], rings[1:]) for rings in (found.rings, *found.more)]


def box(west: float, south: float, east: float, north: float) -> list[tuple[float, float]]:
    return [(west, south), (east, south), (east, north), (west, north)]


def expected(given: RegionPolygon) -> list[Any]:
    """By shapely: the parts west and east of 180 and of 540."""
    whole = shapely.Polygon(given.rings[0], given.rings[1:])
    found = []
    for turn in range(-1, 3):
        part = whole.intersection(shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90))
        pieces = [one for one in shapely.get_parts(part) if one.area > 0]
        found += [affinity.translate(one, -360 * turn) for one in pieces]
    return found


def check(given: RegionPolygon) -> RegionPolygon:
    found = cut_at_180(given, 9)
    parts, wanted = shapes(found), expected(given)
    assert len(parts) == len(wanted)
    for part in parts:
        assert part.is_valid, shapely.is_valid_reason(part)
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)
        assert part.bounds[0] >= -180 and part.bounds[2] <= 180
        assert min(part.symmetric_difference(one).area for one in wanted) < 1e-7 * part.length + 1e-12
    if np.ptp(given.rings[0][:, 0]) <= 360:  # a longer one lies on itself
        assert shapely.MultiPolygon(parts).is_valid
    assert sum(part.area for part in parts) == pytest.approx(sum(one.area for one in wanted), abs=1e-6)
    return found


def test_a_box_becomes_two() -> None:
    found = check(polygon(box(170, -10, 190, 10)))
    assert [part.bounds for part in shapes(found)] == [(170, -10, 180, 10), (-180, -10, -170, 10)]
    assert '"type": "MultiPolygon", "coordinates": [[[[' in feature_of(found, ["a"])


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (polygon(box(170, 0, 180, 10)), 1),  # touches the line from the west: as it was
        (polygon(box(180, 0, 190, 10)), 1),  # from the east
        (polygon(box(190, 0, 200, 10)), 1),
        (polygon(box(-200, 0, -190, 10)), 1),
        (polygon(box(-190, 0, -170, 10)), 2),
        (polygon(box(170, -10, 560, 10)), 3),  # more than once round
        (polygon(box(170, 0, 190, 10), box(178, 4, 182, 6)[::-1]), 2),  # a hole across the line
        (polygon(box(170, 0, 190, 10), box(172, 4, 174, 6)[::-1], box(185, 4, 187, 6)[::-1]), 2),
        (polygon(box(170, 0, 190, 10), box(176, 4, 180, 6)[::-1]), 2),  # a hole whose side is on it
        (polygon(box(170, 0, 190, 10), [(180, 5), (178, 3), (176, 5), (178, 7)]), 2),  # whose corner is on it
        (polygon([(170, 0), (190, 0), (190, 2), (176, 2), (176, 8), (190, 8), (190, 10), (170, 10)]), 3),  # a C
        (polygon([(170, 0), (180, 0), (180, 4), (190, 4), (190, 6), (180, 6), (180, 10), (170, 10)]), 2),  # along it
        (polygon([(175, 0), (185, 0), (180, 3), (185, 6), (175, 6)]), 3),  # two teeth that meet on it
        (polygon([(170, 0), (180, 5), (170, 10)]), 1),  # a tip on it
        (
            polygon(
                [(170, 4), (170, 0), (190, 0), (190, 9), (170, 9)],
                box(176, 3, 185, 6)[::-1],
                [(170, 4), (173, 5), (176, 3), (173, 2)],
            ),
            3,
        ),  # holes that divide
    ],
)
def test_shapes(given: RegionPolygon, parts: int) -> None:
    found = check(given)
    assert 1 + len(found.more) == parts


MASKS = st.tuples(st.integers(1, 12), st.integers(2, 12), st.integers(2, 3), st.integers(0, 2**31)).map(
    lambda given: np.random.default_rng(given[3]).integers(0, given[2], given[:2], dtype=np.uint8)
)


@settings(max_examples=200, deadline=None)
@example(
    np.random.default_rng(5565091).integers(0, 2, (5, 8), dtype=np.uint8), 6.0, 0.1
)  # a hole between border and another hole
@given(MASKS, st.floats(0, 12), st.sampled_from([0.0, 0.1, -0.7, 1.3]))
def test_regions_of_masks(mask: NDArray[np.uint8], line: float, turned: float) -> None:
    """Holes, corners that meet, borders along the line and askew to it; neighbours stay neighbours."""
    at = round(line) if turned == 0 else line
    parts: list[Any] = []
    for region in polygons_of(mask):
        rings = []
        for ring in region.rings:
            x, y = ring[:, 0] - at, -ring[:, 1].astype(np.float64)
            degrees = np.stack([180 + x + turned * y, y - turned * x], 1)
            rings.append(np.round(degrees[::-1], 9))
        found = check(RegionPolygon(region.index, region.pixels, None, tuple(rings)))
        parts += shapes(found)
    assert sum(part.area for part in parts) == pytest.approx(mask.size * (1 + turned**2), abs=1e-5)
    assert shapely.union_all(parts, grid_size=1e-8).area == pytest.approx(mask.size * (1 + turned**2), abs=1e-5)


def test_a_border_that_crosses_itself_is_told() -> None:
    bow = polygon([(170, 0), (190, 0), (170, 10), (190, 10)], box(175, 1, 185, 2))
    with pytest.raises(TileError, match="crosses itself at 180 degrees"):
        cut_at_180(bow, 9)


@pytest.mark.parametrize("up", [1, -1])
def test_a_hole_goes_to_the_part_around_it(up: int) -> None:
    """East of the line a hook, and within its box a tooth with a hole."""
    hook = [
        (170, 0),
        (175, 0),
        (175, 4),
        (186, 4),
        (186, 6),
        (175, 6),
        (175, 9),
        (188, 9),
        (188, 1),
        (190, 1),
        (190, 10),
        (170, 10),
    ]
    rings = [[(x, up * y) for x, y in ring][::up] for ring in (hook, box(183, 4.5, 184, 5.5)[::-1])]
    found = check(polygon(*rings))
    assert sorted(len(part.interiors) for part in shapes(found)) == [0, 0, 1]
