"""Where on Earth an image's pixels are, as GeoJSON wants it: WGS 84 longitudes and latitudes (RFC 7946) where the image tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.raster.area import tells_places
from dlcv.runtime.raster.library import rasterio

WGS84 = "EPSG:4326"
DEGREE_DIGITS, MAP_DIGITS = 9, 4
"""Of coordinates: a tenth of a millimetre, in degrees and in metres."""
MAP_NOTE = "coordinates are the image's own map coordinates, whose system it does not tell; they may be no longitudes"
LATITUDE_NOTE = (
    "some latitudes are beyond 90 degrees, as the image's own transform has them; they are no places on Earth"
)
_BORDER = 1e-3  # of a pixel
_ROUND = 180.0 + 1e-6  # a map of the whole Earth ends there, give or take its last digit


@dataclass(frozen=True)
class Ground:
    """From pixel corners to coordinates.

    Attributes:
        transform: a, b, c, d, e, f: see `polygons_of`; None: coordinates are pixels.
        source: the transform's CRS, of rasterio, where coordinates become longitudes and latitudes; else None.
        crs: authority and code of the coordinates, such as `EPSG:4326`; None where there is none.
        about: longitude of its middle, of a projected image across the antimeridian: longitudes are those next to it, beyond 180 where need be,
            so that no polygon runs round the Earth; else None.
        beyond: some of its longitudes are beyond 180, for that reason or since its own transform says so: polygons are to be cut there.
        over_pole: some of its latitudes are beyond 90, since its own transform says so.
    """

    transform: tuple[float, ...] | None = None
    source: Any = None
    crs: str | None = None
    about: float | None = None
    beyond: bool = False
    over_pole: bool = False

    @classmethod
    def of(cls, dataset: Any) -> Ground:
        """From a dataset of rasterio. One with ground control points alone stays in pixels."""
        if not tells_places(dataset.transform):
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
        if dataset.crs.is_projected and _holds_a_pole(dataset):
            return own  # round a pole there is no way to draw a polygon in longitudes and latitudes
        longitudes, about = degrees[:, 0], float(degrees[4, 0])
        if dataset.crs.is_projected and np.abs(longitudes - about).max() > _ROUND:
            return cls(transform, dataset.crs, WGS84, about, beyond=True)
        beyond, over_pole = (bool(np.abs(degrees[:, k]).max() > most) for k, most in ((0, _ROUND), (1, _ROUND - 90)))
        return cls(transform, dataset.crs, WGS84, None, beyond, over_pole)

    @property
    def digits(self) -> int | None:
        """Behind the point, that coordinates are written with; None: they are whole pixels."""
        if self.transform is None:
            return None
        return DEGREE_DIGITS if self.source is not None or self.crs == WGS84 else MAP_DIGITS

    @property
    def note(self) -> str | None:
        """What a reader of the coordinates must know; None where they are what they are taken for, or pixels."""
        if self.over_pole:
            return LATITUDE_NOTE
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
        if self.about is not None:
            longitudes = longitudes + 360 * np.rint((self.about - longitudes) / 360)
        elif self.source.is_geographic:  # a change of datum may bring those beyond 180 back
            longitudes = longitudes + 360 * np.rint((east - longitudes) / 360)
        return longitudes, latitudes


def _holds_a_pole(dataset: Any) -> bool:
    """Whether a projected image goes round a pole."""
    from rasterio.warp import transform

    library = rasterio()
    for latitude in (90.0, -90.0):
        try:
            (east,), (north,) = transform(WGS84, dataset.crs, [0.0], [latitude])[:2]
        except (library.errors.RasterioError, library._err.CPLE_BaseError):
            continue  # a projection without that pole
        if not np.isfinite([east, north]).all():
            continue
        x, y = ~dataset.transform @ (east, north)
        # not on the border: on some maps the pole is the upper edge, and no polygon goes round it
        if _BORDER < x < dataset.width - _BORDER and _BORDER < y < dataset.height - _BORDER:
            return True
    return False
