"""Where on Earth an image's pixels are, as GeoJSON wants it: WGS 84 longitudes and latitudes (RFC 7946) where the image tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.large.library import rasterio

WGS84 = "EPSG:4326"
DEGREE_DIGITS, MAP_DIGITS = 9, 4
"""Of coordinates: a tenth of a millimetre, in degrees and in metres."""
MAP_NOTE = "coordinates are the image's own map coordinates, whose system it does not tell; they may be no longitudes"
ACROSS_NOTE = "the image lies across the antimeridian: longitudes go on beyond 180, and polygons are not cut there"
_FAR = 90.0
_ROUND = 180.0 + 1e-6  # a map of the whole Earth ends there, give or take its last digit


@dataclass(frozen=True)
class Ground:
    """From pixel corners to coordinates.

    Attributes:
        transform: a, b, c, d, e, f: see `polygons_of`; None: coordinates are pixels.
        source: the transform's CRS, of rasterio, where coordinates become longitudes and latitudes; else None.
        crs: authority and code of the coordinates, such as `EPSG:4326`; None where there is none.
        across: the image lies across the antimeridian: its western longitudes are above 180, so that no polygon runs round the Earth.
        beyond: some of its longitudes are beyond 180, for that reason or since its own transform says so.
    """

    transform: tuple[float, ...] | None = None
    source: Any = None
    crs: str | None = None
    across: bool = False
    beyond: bool = False

    @classmethod
    def of(cls, dataset: Any) -> Ground:
        """From a dataset of rasterio. One with ground control points alone stays in pixels."""
        if dataset.transform.is_identity or dataset.transform.determinant == 0:
            return cls()
        transform = tuple(float(value) for value in tuple(dataset.transform)[:6])
        if dataset.crs is None:
            return cls(transform)
        authority = dataset.crs.to_authority()
        own = cls(transform, crs=None if authority is None else ":".join(authority))
        if not (dataset.crs.is_geographic or dataset.crs.is_projected):
            return own
        y, x = np.meshgrid(np.linspace(0, dataset.height, 3), np.linspace(0, dataset.width, 3), indexing="ij")
        places = np.stack([x.ravel(), y.ravel()], 1)
        try:
            degrees = cls(transform, dataset.crs, WGS84).place(places)
        except TileError:
            return own  # its projection has no way back
        longitudes = degrees[:, 0]
        across = bool(dataset.crs.is_projected and np.ptp(longitudes) > 2 * _FAR and abs(longitudes[4]) > _FAR)
        return cls(transform, dataset.crs, WGS84, across, across or bool(np.abs(longitudes).max() > _ROUND))

    @property
    def digits(self) -> int | None:
        """Behind the point, that coordinates are written with; None: they are whole pixels."""
        if self.transform is None:
            return None
        return DEGREE_DIGITS if self.source is not None or self.crs == WGS84 else MAP_DIGITS

    @property
    def note(self) -> str | None:
        """What a reader of the coordinates must know; None where they are what they are taken for, or pixels."""
        if self.beyond:
            return ACROSS_NOTE
        return MAP_NOTE if self.transform is not None and self.crs is None else None

    def place(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel corners (n, 2), x and y, as coordinates float64 (n, 2): longitude and latitude, or x and y on the map.

        Raises:
            TileError: when one of them has no longitude and latitude.
        """
        if self.transform is None:
            return corners
        a, b, c, d, e, f = self.transform
        x, y = corners[:, 0], corners[:, 1]
        east, north = a * x + b * y + c, d * x + e * y + f
        if self.source is not None and len(corners):
            east, north = self._degrees(east, north)
        return np.stack([east, north], 1)

    def _degrees(
        self, east: NDArray[np.float64], north: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        library = rasterio()
        from rasterio.warp import transform

        try:
            longitudes, latitudes = (
                np.asarray(one, np.float64) for one in transform(self.source, WGS84, east, north)[:2]
            )
        except (library.errors.RasterioError, library._err.CPLE_BaseError) as error:
            raise TileError(f"its map coordinates have no longitudes and latitudes: {error}") from error
        if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
            raise TileError("some of its map coordinates have no longitudes and latitudes; run it without --polygons")
        if self.across:
            longitudes = np.where(longitudes < 0, longitudes + 360, longitudes)
        return longitudes, latitudes
